"""Notes and tags, which users also edit by hand."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fifteen.experiments import Experiment, MetadataError


@pytest.fixture
def experiment(tmp_path):
    return Experiment(tmp_path / "run", verbose=False)


def edit(experiment, text):
    experiment.data_dir.mkdir(exist_ok=True)
    (experiment.data_dir / "notes.yaml").write_text(text)


def test_annotate_replaces_the_note_and_adds_tags(experiment):
    experiment.annotate(note="first", tags=["paper", "b"])
    experiment.annotate(tags=("a", "paper", " b "))
    assert experiment.read_metadata("notes") == {"note": "first", "tags": ["a", "b", "paper"]}
    experiment.annotate(note="second: with\nmore lines")
    assert experiment.read_metadata("notes") == {
        "note": "second: with\nmore lines",
        "tags": ["a", "b", "paper"],
    }
    experiment.annotate(note="")
    assert experiment.read_metadata("notes") == {"tags": ["a", "b", "paper"]}


def test_without_content_there_is_no_file(experiment):
    experiment.annotate()
    experiment.annotate(note="", tags=[])
    assert not experiment.data_dir.exists()
    experiment.annotate(note="first")
    experiment.annotate()
    assert experiment.read_metadata("notes") == {"note": "first"}
    experiment.annotate(note="")
    assert experiment.metadata_names() == []


@pytest.mark.parametrize(
    ("text", "note", "tags"),
    [
        ("note: 1.10\ntags: paper\n", "1.10", ["new", "paper"]),
        ("tags: paper, seed 3\n", None, ["new", "paper", "seed 3"]),
        ("tags:\n- 2024\n- no\n- 1:30\n- null_\n", None, ["1:30", "2024", "new", "no", "null_"]),
        ("note:\ntags:\n", None, ["new"]),
        ("{}\n", None, ["new"]),
    ],
)
def test_handwritten_notes_are_accepted(experiment, text, note, tags):
    edit(experiment, text)
    experiment.annotate(tags=["new"])
    content = yaml.safe_load((experiment.data_dir / "notes.yaml").read_text())
    assert content["tags"] == tags
    assert content.get("note") in (note, 1.1)
    assert experiment.read_metadata("notes", dict[str, str | list[str] | None]).get("note") == note


def test_other_keys_are_kept(experiment):
    edit(
        experiment,
        "rating: 1e-3\ntags: [old]\nwhy: |\n  one\n  two\nseen: {by: [Ada, Bob], on: 2026-01-31}\n"
        "1: !dataclass:Mine {x: no}\n",
    )
    experiment.annotate(note="last", tags=["new"])
    assert (experiment.data_dir / "notes.yaml").read_text() == (
        "# fifteen.experiments metadata\n"
        "rating: 1e-3\ntags: [new, old]\nwhy: |\n  one\n  two\n"
        "seen:\n  by: [Ada, Bob]\n  on: 2026-01-31\n1: !dataclass:Mine\n  x: no\nnote: last\n...\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", ":1:1: expected Notes, got a sequence of 1 value, a mapping of 'note', 'tags'"),
        ("", "the file is empty"),
        (
            "note: [1]\ntags: {a: 1}\n",
            ":1:7: note: expected str | None, got a sequence of 1 value\n",
        ),
        ("note: a\nnote: b\n", ":2:1: the field 'note' appears twice"),
        ("note: a\n<<: {b: 1}\n", "merge keys (<<) are not read"),
        ("note: [\n", "not valid YAML"),
    ],
)
def test_unreadable_file_is_named_and_kept(experiment, text, message):
    edit(experiment, text)
    with pytest.raises(MetadataError) as caught:
        experiment.annotate(note="n", tags=["t"])
    assert message in str(caught.value)
    assert str(experiment.data_dir / "notes.yaml") in str(caught.value)
    assert (experiment.data_dir / "notes.yaml").read_text() == text


def test_all_values_other_than_text_are_listed(experiment):
    with pytest.raises(MetadataError) as caught:
        experiment.annotate(note=3, tags=["a", 1, " "])  # pyright: ignore
    assert str(caught.value).splitlines() == [
        "note: expected a str, got 3",
        "tags: expected a sequence of str, got 1 in it",
        "tags: expected a sequence of str, got ' ' in it",
    ]
    with pytest.raises(MetadataError, match=r"got 'paper'; write \['paper'\]"):
        experiment.annotate(tags="paper")
    with pytest.raises(MetadataError, match="lone surrogate"):
        experiment.annotate(note="\ud800")
    assert not experiment.data_dir.exists()


@pytest.mark.slow
@given(note=st.text(min_size=1), tags=st.lists(st.text(), max_size=4))
def test_any_text_round_trips(tmp_path_factory, note, tags):
    experiment = Experiment(tmp_path_factory.mktemp("run"), verbose=False)
    tags = sorted({tag.strip() for tag in tags if tag.strip()})
    experiment.annotate(note=note, tags=tags)
    experiment.annotate(tags=tags)
    read = experiment.read_metadata("notes")
    assert read == {"note": note, **({"tags": tags} if tags else {})}
