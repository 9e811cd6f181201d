import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from models.grow import SIZES, TOKENIZER_FILES, Shape, grow, main

MODELS = Path(__file__).parents[3] / "models"
# The two compute the same sums in another order and round the scaled norms anew. float32 keeps 2**-24 = 6e-8 of a
# value; through a few layers of sums of hundreds of terms that is about 1e-5 of the largest logit. 1e-4 leaves room
# for another BLAS and is far below what an error in the construction would do (order 1).
TOLERANCE = 1e-4


def tiny(hidden: int = 32, layers: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=hidden,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 16,
        num_key_value_heads=hidden // 16,
        tie_word_embeddings=True,
        initializer_range=0.3,  # logits of a few units, as in a trained network
        rms_norm_eps=1e-2,  # large: a wrong epsilon shows
    )
    model = LlamaForCausalLM(config).eval()
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    return model


def difference(a: LlamaForCausalLM, b: LlamaForCausalLM, tokens: int = 40) -> float:
    """Largest logit difference, as a share of the largest logit."""
    ids = torch.randint(a.config.vocab_size, (2, tokens), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected, got = a(input_ids=ids).logits, b(input_ids=ids).logits
    return float((expected - got).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    "shape",
    [Shape(64, 48, 2), Shape(32, 96, 2), Shape(32, 48, 5), Shape(80, 112, 3)],
    ids=["wide", "mlp", "deep", "all"],
)
def test_growth_keeps_the_function(shape: Shape) -> None:
    source = tiny()
    assert difference(source, grow(source, shape)) < TOLERANCE


def test_the_comparison_sees_a_wrong_norm() -> None:
    source = tiny()
    grown = grow(source, Shape(64, 96, 3))
    grown.model.norm.weight.data[0] *= 1.01
    assert difference(source, grown) > TOLERANCE


def test_new_weights_are_real_work() -> None:
    grown = grow(tiny(), Shape(64, 96, 3))
    assert float(grown.model.layers[2].mlp.up_proj.weight.detach().abs().min(dim=0).values.max()) > 0
    assert int((grown.model.layers[0].self_attn.q_proj.weight == 0).sum()) == 0


def test_the_same_seed_grows_the_same_network() -> None:
    one, two = (grow(tiny(), Shape(64, 96, 3), seed=5).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("shape", [Shape(16, 48, 2), Shape(32, 48, 1)], ids=["narrower", "shallower"])
def test_shrinking_is_refused(shape: Shape) -> None:
    with pytest.raises(ValueError, match="smaller than the source"):
        grow(tiny(), shape)


def test_a_broken_head_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden=40"):
        grow(tiny(), Shape(40, 48, 2))


def test_the_shipped_target_grows_to_30m_by_the_command_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["grow.py", "--size", "30m", "--out", str(tmp_path)])
    main()
    assert "parameters" in capsys.readouterr().out
    grown = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    source = LlamaForCausalLM.from_pretrained(MODELS / "target", dtype=torch.float32).eval()
    assert grown.config.hidden_size == SIZES["30m"].hidden
    assert difference(source, grown, tokens=256) < TOLERANCE
    assert (tmp_path / "tokenizer.json").read_bytes() == (MODELS / "target" / "tokenizer.json").read_bytes()
    main()
    assert "already there" in capsys.readouterr().out


def test_a_source_trained_anew_is_grown_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    monkeypatch.setitem(SIZES, "30m", Shape(64, 96, 3))
    monkeypatch.setattr(sys, "argv", ["grow.py", "--size", "30m", "--out", str(out), "--source", str(source)])
    trained = tiny()
    for said in ("parameters", "already there"):
        trained.save_pretrained(source)
        for name in TOKENIZER_FILES:
            (source / name).write_text("{}")
        main()
        assert said in capsys.readouterr().out
    trained.model.norm.weight.data[0] *= 1.01
    trained.save_pretrained(source)
    main()
    assert "parameters" in capsys.readouterr().out
    grown = LlamaForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    assert difference(trained, grown) < TOLERANCE
