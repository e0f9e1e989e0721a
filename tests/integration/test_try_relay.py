import asyncio, time, traceback
import api.relay
from tests.system import running, create
from tests.followers import crowd
from tests.relay_servers import Script, ScriptedAnswers
orig = api.relay.error_response
def er(error):
    print("ERROR", repr(error), repr(error.__cause__)); traceback.print_exception(error)
    return orig(error)
api.relay.error_response = er

async def test_it(settings):
    async with running(settings, ScriptedAnswers, workers=1) as system:
        alice = await crowd(system, await system.caller())
        a = await alice.stream(create(str(Script(deltas=20))))
        bad = []
        lim = asyncio.Semaphore(25)
        slow=[]
        async def one(i):
            async with lim:
                t=time.monotonic()
                r = await alice.resume(a.run_id, f"1-{5+i%15}")
                slow.append(time.monotonic()-t)
                if r.status != 200: bad.append(r.raw)
        await asyncio.gather(*[one(i) for i in range(3000)])
        print("BAD", len(bad), "slowest", sorted(slow)[-5:], "median", sorted(slow)[1500])

from shared.redis import FairPool
og = FairPool.get_connection
W=[]
async def gc(self,*a,**k):
    t=time.monotonic()
    try: return await og(self,*a,**k)
    finally: W.append(time.monotonic()-t)
FairPool.get_connection=gc
import atexit
atexit.register(lambda: print("POOLWAIT", len(W), sorted(W)[len(W)//2], sorted(W)[-5:]))
