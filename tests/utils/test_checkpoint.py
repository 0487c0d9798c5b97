"""Checkpoints: written whole or not at all, refused with one sentence if damaged, never a way to run code."""

import io
import multiprocessing
import pickle
import random
import resource
import zipfile

import pytest
import torch

from models.avenet import AVENet
from utils import checkpoint, files
from utils.errors import UserError


def net(width=2, seed=0):
    """A small AVE-Net whose statistics and weights depend on the seed."""
    torch.manual_seed(seed)
    model = AVENet(width, dim=8)
    model(torch.randn(3, 3, 32, 32), torch.randn(3, 1, 32, 32))
    return model


def content(model, step=1):
    """What a run stores, without the optimizer."""
    return {"model": model.state_dict(), "ema": None, "config": {"train": {"lr": 0.1}}, "step": step, "metrics": {}}


def same(a, b):
    """Whether two state dicts hold the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path):
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(3, 3, 32, 32), torch.randn(3, 1, 32, 32))[2].sum().backward()
    optimizer.step()
    saved = content(model) | {"optimizer": optimizer.state_dict(), "seconds": 1.5, "half": torch.ones(2).bfloat16()}
    checkpoint.save(tmp_path / "a.pt", saved)
    loaded = checkpoint.load(tmp_path / "a.pt")
    assert same(loaded["model"], model.state_dict()) and loaded["half"].dtype == torch.bfloat16
    assert {k: loaded[k] for k in ("ema", "config", "step", "seconds")} == {
        "ema": None, "config": {"train": {"lr": 0.1}}, "step": 1, "seconds": 1.5,
    }  # fmt: skip
    again = torch.optim.Adam(net(seed=1).parameters())
    again.load_state_dict(loaded["optimizer"])
    assert all(
        torch.equal(state[key], again.state_dict()["state"][i][key])
        for i, state in optimizer.state_dict()["state"].items()
        for key in state
    )


# -------------------------------------------------------------------------------------------------- whole or not at all


def half_then_fail(error):
    """A torch.save that breaks off in the middle of the file."""

    def write(content, file):
        whole = io.BytesIO()
        torch.serialization.save(content, whole)
        file.write(whole.getvalue()[: whole.tell() // 2])
        raise error

    return write


def fail(error):
    """A call that does nothing but raise."""

    def call(*_):
        raise error

    return call


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("crash")])
@pytest.mark.parametrize("moment", ["half packed", "written, not flushed", "flushed, not renamed"])
def test_a_crash_in_the_middle_of_saving_leaves_the_older_checkpoint_whole(tmp_path, monkeypatch, moment, error):
    path = tmp_path / "last.pt"
    checkpoint.save(path, content(net(), step=7))
    before = path.read_bytes()
    if moment == "half packed":
        monkeypatch.setattr(torch, "save", half_then_fail(error))
    else:
        monkeypatch.setattr(files.os, "fsync" if "not flushed" in moment else "replace", fail(error))
    with pytest.raises((UserError, type(error))):
        checkpoint.save(path, content(net(seed=1), step=8))
    monkeypatch.undo()
    assert path.read_bytes() == before and checkpoint.load(path)["step"] == 7
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]  # and no half file beside it
    checkpoint.save(path, content(net(seed=1), step=9))
    assert checkpoint.load(path)["step"] == 9


def test_the_new_file_is_on_disk_before_it_takes_the_place_of_the_old_one(tmp_path, monkeypatch):
    """After a power cut a file that was renamed before its content was flushed may be empty."""
    path, order = tmp_path / "last.pt", []
    real = {name: getattr(files.os, name) for name in ("fsync", "replace")}

    def replace(source, target):
        order.append(("replace", checkpoint.load(source)["step"]))  # whole under its temporary name
        real["replace"](source, target)

    monkeypatch.setattr(files.os, "fsync", lambda number: (order.append("fsync"), real["fsync"](number)))
    monkeypatch.setattr(files.os, "replace", replace)
    checkpoint.save(path, content(net(), step=3))
    assert order == ["fsync", ("replace", 3)]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"last\.pt can't be written \(No such file or directory\)"):
        checkpoint.save(tmp_path / "missing" / "last.pt", content(net()))


def _save_on_a_full_disk(path, weights, answers):
    torch.set_num_threads(1)  # a forked process has no other threads, and waiting for them never ends
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        checkpoint.save(path, {"model": weights, "step": 2})
    except UserError as error:
        answers.put(str(error))
    except BaseException as error:
        answers.put(f"not a UserError: {error!r}")


def test_a_full_disk_is_one_sentence_and_costs_no_checkpoint(tmp_path):
    """The system itself refuses to write on, in a process of its own."""
    path, fork = tmp_path / "last.pt", multiprocessing.get_context("fork")
    checkpoint.save(path, {"step": 1})
    answers = fork.SimpleQueue()
    process = fork.Process(target=_save_on_a_full_disk, args=(path, {"w": torch.zeros(100_000)}, answers))
    process.start()
    process.join(60)
    process.kill()
    assert "last.pt can't be written" in answers.get()
    assert checkpoint.load(path)["step"] == 1 and len(list(tmp_path.iterdir())) == 1


# ----------------------------------------------------------------------------------------------------- damaged, foreign


def refusal(path):
    """The sentence with which a checkpoint is refused."""
    with pytest.raises(UserError) as error:
        checkpoint.load(path)
    text = str(error.value)
    assert str(path) in text and "\n" not in text and len(text) < 300 + len(str(path))
    return text


def test_a_truncated_file_of_any_length_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, content(net()))
    whole = path.read_bytes()
    lengths = {*range(12), *range(12, len(whole), len(whole) // 150), *range(len(whole) - 40, len(whole))}
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        assert "damaged" in refusal(path)


def test_a_flipped_bit_in_a_weight_is_told_by_the_checksum(tmp_path):
    path, weight = tmp_path / "best.pt", torch.full((1000,), 0.1234567)
    checkpoint.save(path, {"model": {"weight": weight}, "step": 1})
    whole = bytearray(path.read_bytes())
    whole[whole.index(weight.numpy().tobytes()) + 2001] ^= 1
    path.write_bytes(whole)
    assert "is damaged (its checksums differ from its content): use another one" in refusal(path)


def test_damage_of_any_kind_is_refused_or_harmless(tmp_path):
    """Torch's older format has no checksums, so damage within its numbers may pass; it never shows as a traceback."""
    path, rng = tmp_path / "last.pt", random.Random(0)
    checkpoint.save(path, {"model": torch.nn.BatchNorm1d(3).state_dict(), "step": 1})
    zipped = path.read_bytes()
    legacy, small = io.BytesIO(), {"format": 1, "model": torch.nn.BatchNorm1d(3).state_dict()}
    torch.save(small, legacy, _use_new_zipfile_serialization=False)
    refused = 0
    for whole in (zipped, legacy.getvalue()):
        for _ in range(250):
            broken = bytearray(whole)
            for _ in range(rng.randint(1, 8)):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
            path.write_bytes(broken)
            try:
                checkpoint.load(path)
            except UserError:
                refused += 1
    assert refused > 250


@pytest.mark.parametrize(
    "foreign", [b"", b"0", b"step,loss\n1,0.7\n", b"PK\x03\x04" + bytes(100), b"\x80\x02" + bytes(50), bytes(5000)]
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, foreign):
    path = tmp_path / "x.pt"
    path.write_bytes(foreign)
    assert "damaged or no checkpoint" in refusal(path)


@pytest.mark.parametrize("other", [{"model": {}}, {"format": 0, "model": {}}, [1, 2], torch.ones(3), None])
def test_a_torch_file_of_another_project_is_refused(tmp_path, other):
    torch.save(other, tmp_path / "x.pt")
    assert "was not written by this project" in refusal(tmp_path / "x.pt")


def test_a_missing_checkpoint_is_named_with_where_to_find_one(tmp_path):
    assert "there is no checkpoint" in refusal(tmp_path / "best.pt") and "best.pt and last.pt" in refusal(tmp_path)


# ------------------------------------------------------------------------------------------------------------ malicious


class Payload:
    """Pickles as a call that makes a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return exec, (f"open({str(self.target)!r}, 'w').write('ran')",)


def as_zip(bad, path):
    """torch.save's own format, the payload among the tensors."""
    torch.save({"format": 1, "model": {"w": torch.ones(2), "x": bad}}, path)


def as_crafted_zip(bad, path):
    """A good checkpoint whose data.pkl was exchanged for another pickle."""
    good = io.BytesIO()
    torch.save({"format": 1, "model": {"w": torch.ones(2)}}, good)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as out:
        for name in source.namelist():
            swapped = name.endswith("data.pkl")
            out.writestr(name, pickle.dumps({"format": 1, "model": bad}, protocol=2) if swapped else source.read(name))


def as_legacy(bad, path):
    """The format of torch before 1.6."""
    torch.save({"format": 1, "model": bad}, path, _use_new_zipfile_serialization=False)


def as_pickle(protocol):
    """A plain pickle under a checkpoint's name."""

    def write(bad, path):
        path.write_bytes(pickle.dumps({"format": 1, "model": bad}, protocol=protocol))

    write.__name__ = f"as_pickle_{protocol}"
    return write


@pytest.mark.parametrize(
    "craft", [as_zip, as_crafted_zip, as_legacy, *(as_pickle(n) for n in range(6))], ids=lambda f: f.__name__
)
def test_a_malicious_pickle_does_not_run(tmp_path, craft):
    path, proof = tmp_path / "best.pt", tmp_path / "ran"
    craft(Payload(proof), path)
    # Loaded without care it would run: the attack is real.
    if craft.__name__.startswith("as_pickle"):
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert proof.read_text() == "ran"
    proof.unlink()
    text = refusal(path)
    assert not proof.exists()
    if "pickle" not in craft.__name__:
        assert "holds code" in text
    with pytest.raises(UserError):
        checkpoint.init_from(net(), path)
    assert not proof.exists()


# --------------------------------------------------------------------------------------------------- into a net


def test_weights_go_into_a_net_of_the_same_kind():
    source, target = net(seed=0), net(seed=1)
    assert not same(source.state_dict(), target.state_dict())
    checkpoint.load_weights(target, source.state_dict(), "x.pt")
    assert same(source.state_dict(), target.state_dict())


class OtherNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Linear(3, 4)


@pytest.mark.parametrize("other", [net(width=3), OtherNet(), torch.nn.Sequential()], ids=["width", "kind", "empty"])
def test_a_checkpoint_of_another_net_is_refused_and_changes_nothing(other):
    target = net()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(UserError, match=r"best\.pt is of another net: \d+ weights don't fit AVENet.*model\.width"):
        checkpoint.load_weights(target, other.state_dict(), "best.pt")
    assert same(before, target.state_dict())


def test_a_checkpoint_with_weights_to_spare_is_of_another_net_too():
    weights = net().state_dict() | {"flow.weight": torch.ones(2)}
    with pytest.raises(UserError, match=r"1 weight doesn't fit AVENet, the first is flow\.weight"):
        checkpoint.load_weights(net(), weights, "best.pt")


def test_init_from_takes_what_fits_and_leaves_the_rest(tmp_path):
    """From a narrower net: the same names, but only the last layers have the same shapes."""
    source, target = net(width=3, seed=0), net(width=2, seed=1)
    checkpoint.save(tmp_path / "a.pt", content(source))
    own, other = ({name: value.clone() for name, value in m.state_dict().items()} for m in (target, source))
    taken = checkpoint.init_from(target, tmp_path / "a.pt")
    fits = {name for name in own if own[name].shape == other[name].shape}
    assert set(taken) == fits and {"vision_fc2.weight", "fc3.weight"} <= fits and "vision_fc1.weight" not in fits
    for name, value in target.state_dict().items():
        assert torch.equal(value, (other if name in fits else own)[name])


def test_init_from_takes_the_running_average_where_there_is_one(tmp_path):
    """It is what best.pt was chosen and measured with."""
    raw, average, target = net(seed=0), net(seed=1), net(seed=2)
    checkpoint.save(tmp_path / "a.pt", content(raw) | {"ema": average.state_dict()})
    assert len(checkpoint.init_from(target, tmp_path / "a.pt")) == len(target.state_dict())
    assert same(target.state_dict(), average.state_dict())


def test_init_from_a_net_with_nothing_in_common_is_refused(tmp_path):
    checkpoint.save(tmp_path / "a.pt", content(OtherNet()))
    with pytest.raises(UserError, match=r"no weight of checkpoint .*a\.pt fits AVENet"):
        checkpoint.init_from(net(), tmp_path / "a.pt")
