import asyncio, random, time
import asyncpg
from redis.asyncio import Redis
from tests.system import running, create, message
from tests.followers import *
from tests.redis_clients import connections, kill, listens
from tests.relay_servers import Script, ScriptedAnswers
from worker.main import create_worker
from shared import keys

def apply(screen, events):
    for e in events:
        if e["type"] in ("thread.item.added","thread.item.done"): screen[e["item"]["id"]] = e["item"]
        elif e["type"]=="thread.item.updated":
            u=e["update"]; screen[e["item_id"]]["content"][u["content_index"]]["text"] += u["delta"]
        elif e["type"]=="thread.item.removed": screen.pop(e["item_id"], None)

async def client(callers, i, results):
    rnd=random.Random(i)
    caller=rnd.choice(callers)
    script=Script(deltas=rnd.randint(2,60), every_seconds=rnd.choice([0,0.003,0.01]), items_before=rnd.randint(0,2))
    raw=b""; run=None; cursor=None
    hdr={"Idempotency-Key": f"k{i}"}
    stop = rnd.random()<0.3
    for attempt in range(60):
        try:
            if run is None:
                async with asking(caller, create(str(script)), hdr) as f:
                    if stop:
                        await f.until("id", lambda a: a.status)
                        if f.answer.status==200:
                            run=f.run_id
                            await asyncio.sleep(rnd.random()*0.6)
                            await rnd.choice(callers).cancel(run)
                    a=await f.finished()
            else:
                async with following(rnd.choice(callers), run, cursor) as f:
                    a=await f.finished()
        except AssertionError as e:
            await asyncio.sleep(0.1); continue
        if a.status==503: await asyncio.sleep(0.1); continue
        if a.status==204: break
        assert a.status==200, (i, a.status, a.raw)
        run=a.run_id
        raw+=body(a.raw)
        if a.end: break
        ids=cursors(raw)
        if ids: cursor=ids[-1]
    results[i]=(run, raw, script)

async def test_it(settings):
    seed=int(time.time()); random.seed(seed); print("SEED",seed)
    s=settings.model_copy(update={"lease_seconds":1.0,"drain_seconds":0.1,"max_runs":15,"run_max_attempts":50, "ping_seconds":0.3, "tail_max_bytes":4096})
    async with running(s, ScriptedAnswers, apis=2, workers=0) as system, Redis.from_url(s.redis_url, single_connection_client=True) as redis, asyncpg.create_pool(s.database_url,min_size=1,max_size=2) as db:
        a=await crowd(system, await system.caller()); b=await crowd(system,a,api=1)
        results={}
        tasks=[asyncio.create_task(client([a,b],i,results)) for i in range(80)]
        workers=[]
        async def start():
            w=create_worker(s, ScriptedAnswers()); workers.append((w,asyncio.create_task(w.run())))
        await start(); await start()
        t0=time.time()
        while not all(t.done() for t in tasks):
            if time.time()-t0<12:
                what=random.random()
                if what<0.25:
                    await kill(redis, [c for c in await connections(redis) if random.random()<0.3])
                elif what<0.35:
                    await kill(redis, await connections(redis))
                elif what<0.6 and workers:
                    w,t=workers.pop(0); w.drain()
                    try: await asyncio.wait_for(asyncio.shield(t),0.5)
                    except Exception as e: pass
                    await start()
                elif what<0.7:
                    await redis.execute_command("CLIENT","PAUSE",str(random.randint(50,1500)),"WRITE")
            await asyncio.sleep(random.random()*0.3)
            if time.time()-t0>60:
                for i,t in enumerate(tasks):
                    if not t.done(): print("STUCK", i)
                break
        for i,t in enumerate(tasks):
            if t.done() and t.exception(): print("EXC",i,repr(t.exception())[:400])
        bad=0
        from collections import Counter
        C=Counter()
        for i,(run,raw,script) in sorted(results.items()):
            ans=Answer(200,{},raw)
            row=await db.fetchrow("SELECT status,attempt,thread_id,error FROM runs WHERE id=$1",run)
            C[(ans.end,row["attempt"])]+=1
            screen={}
            apply(screen, ans.events)
            items=await a.items(row["thread_id"])
            stored={it["id"]:it for it in items}
            def norm(d): return {k:[c["text"] for c in v["content"]] for k,v in d.items() if any(c["text"].strip() for c in v["content"])}
            problems=[]
            if ans.end!=row["status"]: problems.append(("status",ans.end,dict(row)))
            if norm(screen)!=norm(stored) : problems.append(("screen",norm(screen),norm(stored)))
            full=await a.resume(run,None)
            if body(full.raw)!=raw: problems.append(("bytes",))
            notes=await db.fetchval("SELECT count(*) FROM items WHERE thread_id=$1 AND data->>'type'='sdk_hidden_context'",row["thread_id"])
            if row["status"]=="completed" and notes: problems.append(("notes",notes))
            if row["status"]=="cancelled" and notes>1: problems.append(("notes",notes))
            if problems: bad+=1; print("PROBLEM",i,run,dict(row),str(problems)[:1500])
        print("RESULT",C,"bad",bad,"of",len(results))
        left=await redis.zrange(keys.QUEUE,0,-1); print("QUEUE", left, len(await redis.keys("arq:*")))
        for w,t in workers: w.drain()
        await asyncio.gather(*[t for _,t in workers],return_exceptions=True)
