"""What a reply is asked for, and how that is put to a causal language model as chat messages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

Language = Literal["en", "zh"]
Strategy = Literal["acknowledge", "ask", "celebrate", "comfort", "encourage", "suggest"]
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)
MOST_TURNS: Final = 4
"""Earlier turns that a prompt holds; a model of 135 M parameters gains nothing from more."""

_LANGUAGES: Final[Mapping[Language, str]] = {"en": "English", "zh": "Chinese"}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said; ``by_person`` tells the person from the one that replies."""

    text: str
    by_person: bool


@dataclass(frozen=True, slots=True)
class Cue:
    """What a reply follows: the language, the expression that was shown, and how to answer it."""

    language: Language
    expression: str
    strategy: Strategy

    def __str__(self) -> str:
        return f"[{self.expression}; {self.strategy}]"


def chat_messages(cue: Cue, dialogue: Sequence[Turn] = ()) -> list[dict[str, str]]:
    """Return the messages that ask for a reply to the last turn, which is the person's.

    The cue stands after what the person said last. Without a dialogue it stands alone.
    """
    turns = list(dialogue[-MOST_TURNS:])
    while turns and not turns[0].by_person:
        turns.pop(0)
    said = [_message(turn) for turn in turns]
    if not said or said[-1]["role"] != "user":
        said.append({"role": "user", "content": ""})
    said[-1] = {"role": "user", "content": f"{said[-1]['content']} {cue}".strip()}
    system = f"Reply in {_LANGUAGES[cue.language]}, in one or two short sentences."
    return [{"role": "system", "content": system}, *said]


def prompt_ids(tokenizer: Any, messages: Sequence[Mapping[str, str]], *, ask: bool) -> list[int]:
    """Return the token ids of messages; with ``ask`` a reply comes next.

    A tokenizer without a chat template gets one line for each message, after who says it.
    """
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)
    else:
        end = f"{tokenizer.eos_token}\n"
        lines = [f"{message['role']}:{message['content']}{end}" for message in messages]
        text = "".join(lines) + ("assistant:" if ask else "")
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def _message(turn: Turn) -> dict[str, str]:
    return {"role": "user" if turn.by_person else "assistant", "content": turn.text}
