"""Vision models of transformers as feature networks: from a folder, prepared as they say, one vector a picture."""

from pathlib import Path

import pytest
import torch

from grn.errors import ModelMismatchError, ModelNotFoundError
from grn.features.vision import VisionFeatures

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "vit"
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    torch.manual_seed(0)
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        '{"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.4, 0.3], '
        '"image_std": [0.2, 0.3, 0.4]}'
    )
    return folder


def test_features_are_the_models_own(vit: Path) -> None:
    network = VisionFeatures(str(vit), offline=True)
    assert (network.dim, network.side) == (8, 32)
    assert network.name == f"{vit} (transformers) at 32"
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model = transformers.ViTModel.from_pretrained(vit, add_pooling_layer=False).eval()
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    with torch.no_grad():
        wanted = model(pixel_values=((pixels + 1) / 2 - mean) / deviation).last_hidden_state[:, 0]
    torch.testing.assert_close(network(pixels), wanted)
    assert network(torch.zeros(2, 3, 50, 40)).shape == (2, 8)


def test_what_is_no_vision_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no vision model of transformers"):
        VisionFeatures(str(tmp_path / "nothing"), offline=True)
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelMismatchError, match="takes no pictures"):
        VisionFeatures(str(tmp_path / "bert"), offline=True)
