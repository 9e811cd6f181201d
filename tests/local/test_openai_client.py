"""The openai client against the whole application, minus the network."""

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

MODEL = "fake"
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


async def test_completion_n_and_seed(client: openai.AsyncOpenAI) -> None:
    first = await client.completions.create(model=MODEL, prompt="p", max_tokens=3, n=2, seed=1)
    again = await client.completions.create(model=MODEL, prompt="p", max_tokens=3, n=2, seed=1)
    other = await client.completions.create(model=MODEL, prompt="p", max_tokens=3, n=2, seed=2)
    assert [c.text for c in first.choices] == [c.text for c in again.choices]
    assert [c.text for c in first.choices] != [c.text for c in other.choices]
    assert len({c.text for c in first.choices}) == 2


async def test_chat_stream_and_stop(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=4)
    words = (whole.choices[0].message.content or "").split()
    stream = await client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=4, stop=[words[2]], stream=True
    )
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text.split() == words[:2]


async def test_errors_arrive_as_the_clients_own_exceptions(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.completions.create(model="other", prompt="p")
    with pytest.raises(openai.BadRequestError) as caught:
        await client.completions.create(model=MODEL, prompt="p", n=0)
    assert caught.value.param == "n"


async def test_models(client: openai.AsyncOpenAI) -> None:
    assert [m.id async for m in client.models.list()] == [MODEL]
