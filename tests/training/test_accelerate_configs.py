"""The files of examples/accelerate, as accelerate and the Trainer read them."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType

FOLDER = Path(__file__).parents[2] / "examples" / "accelerate"


def load(name):
    return load_config_from_file(str(FOLDER / f"{name}.yaml"))  # refuses unknown fields


@pytest.mark.parametrize(
    "name, type, processes",
    [
        ("ddp-2cpu", DistributedType.MULTI_GPU, 2),
        ("fsdp2", DistributedType.FSDP, 8),
        ("zero2", DistributedType.DEEPSPEED, 8),
        ("zero3", DistributedType.DEEPSPEED, 8),
    ],
)
def test_a_config_is_known_to_accelerate(name, type, processes):
    config = load(name)
    assert (config.distributed_type, config.num_processes, config.num_machines) == (type, processes, 1)
    known = vars(launch_command_parser().parse_args(["script.py"]))
    for field in (*config.fsdp_config, *config.deepspeed_config):  # accelerate takes any, and uses those it knows
        assert field in known


def test_every_config_is_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == ["ddp-2cpu", "fsdp2", "zero2", "zero3"]


@pytest.mark.parametrize("name, stage", [("zero2", 2), ("zero3", 3)])
def test_the_stages_of_deepspeed(name, stage):
    assert load(name).deepspeed_config["zero_stage"] == stage
