from agents import Agent, ModelSettings, RunConfig, Runner, RunContextWrapper, TResponseInputItem, trace
from pydantic import BaseModel


class ClassifySchema(BaseModel):
    category: str


classify = Agent(
    name="Classify",
    instructions="Is the message about returning something, or about anything else?",
    model="gpt-4.1-mini",
    output_type=ClassifySchema,
    model_settings=ModelSettings(temperature=1, top_p=1, max_tokens=2048, store=True),
)


class ReturnsContext:
    def __init__(self, state_category: str):
        self.state_category = state_category


def returns_instructions(run_context: RunContextWrapper[ReturnsContext], _agent: Agent[ReturnsContext]):
    state_category = run_context.context.state_category
    return f"""Help with a return. Category: {state_category}"""


returns = Agent(
    name="Returns",
    instructions=returns_instructions,
    model="gpt-4.1-mini",
    model_settings=ModelSettings(temperature=1, top_p=1, max_tokens=2048, store=True),
)


information = Agent(
    name="Information",
    instructions="Answer questions about the shop.",
    model="gpt-4.1-mini",
    model_settings=ModelSettings(temperature=1, top_p=1, max_tokens=2048, store=True),
)


class WorkflowInput(BaseModel):
    input_as_text: str


# Main code entrypoint
async def run_workflow(workflow_input: WorkflowInput):
    with trace("Help desk"):
        state = {"category": None}
        workflow = workflow_input.model_dump()
        conversation_history: list[TResponseInputItem] = [
            {"role": "user", "content": [{"type": "input_text", "text": workflow["input_as_text"]}]}
        ]
        classify_result_temp = await Runner.run(
            classify,
            input=[*conversation_history],
            run_config=RunConfig(trace_metadata={"__trace_source__": "agent-builder", "workflow_id": "wf_1"}),
        )

        conversation_history.extend([item.to_input_item() for item in classify_result_temp.new_items])

        classify_result = {
            "output_text": classify_result_temp.final_output.json(),
            "output_parsed": classify_result_temp.final_output.model_dump(),
        }
        state["category"] = classify_result["output_parsed"]["category"]
        if classify_result["output_parsed"]["category"] == "returns":
            returns_result_temp = await Runner.run(
                returns,
                input=[*conversation_history],
                run_config=RunConfig(
                    trace_metadata={"__trace_source__": "agent-builder", "workflow_id": "wf_1"}
                ),
                context=ReturnsContext(state_category=state["category"]),
            )

            conversation_history.extend([item.to_input_item() for item in returns_result_temp.new_items])

            returns_result = {"output_text": returns_result_temp.final_output_as(str)}
            return returns_result
        else:
            information_result_temp = await Runner.run(
                information,
                input=[*conversation_history],
                run_config=RunConfig(
                    trace_metadata={"__trace_source__": "agent-builder", "workflow_id": "wf_1"}
                ),
            )

            conversation_history.extend([item.to_input_item() for item in information_result_temp.new_items])

            information_result = {"output_text": information_result_temp.final_output_as(str)}
            return information_result
