"""The prompt of a reply: where the cue stands, and how much of the dialogue."""

from model_serving.reply.prompt import MOST_TURNS, Cue, Turn, chat_messages, prompt_ids

CUE = Cue("en", "joy", "celebrate")


class Words:
    """A tokenizer of words, with or without a chat template."""

    eos_token = " </s>"

    def __init__(self, chat_template: str | None) -> None:
        self.chat_template = chat_template

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        assert not tokenize
        said = " ".join(f"<{message['role']}>" for message in messages)
        return said + (" <assistant>" if add_generation_prompt else "")

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[str]]:
        assert not add_special_tokens
        return {"input_ids": text.split()}


def test_the_cue_stands_after_what_the_person_said_last() -> None:
    messages = chat_messages(CUE, [Turn("we won", True), Turn("wow", False), Turn("yes!", True)])
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[1]["content"] == "we won"
    assert messages[-1]["content"] == "yes! [joy; celebrate]"
    assert "English" in messages[0]["content"]


def test_without_a_dialogue_the_cue_stands_alone() -> None:
    assert chat_messages(Cue("zh", "sadness", "comfort"))[1:] == [
        {"role": "user", "content": "[sadness; comfort]"}
    ]


def test_only_the_last_turns_are_given_and_the_first_is_the_person_s() -> None:
    turns = [Turn(str(number), number % 2 == 0) for number in range(9)]
    messages = chat_messages(CUE, turns)[1:]
    assert len(messages) <= MOST_TURNS
    assert messages[0] == {"role": "user", "content": "6"}
    assert messages[-1]["content"] == "8 [joy; celebrate]"


def test_a_tokenizer_without_a_template_gets_lines() -> None:
    messages = chat_messages(CUE)
    plain = prompt_ids(Words(None), messages, ask=True)
    assert plain[-4:] == ["user:[joy;", "celebrate]", "</s>", "assistant:"]
    assert prompt_ids(Words("…"), messages, ask=True) == ["<system>", "<user>", "<assistant>"]
    assert prompt_ids(Words("…"), messages, ask=False) == ["<system>", "<user>"]
