"""AVE-Net exactly as the paper says (OtS sec. 3): to measure against, not to start from.

`config_AVENet.py` departs from it in four places, each of which helps a net to leave chance: docs/departures.md. The
paper doesn't state the learning rate, nor how large fc3's weights start; here they are as large as PyTorch's default.

    torchrun --nproc-per-node 16 train_AVENet.py --config configs/paper_AVENet.py --data.root ROOT
"""

from configs.schema import Config, Model, Train

config = Config(
    model=Model(logit_scale=0.7),
    train=Train(
        run_dir="runs/paper_AVENet",
        batch_size=2048,
        negatives="one",
        data_dependent_init=False,
        last_layer_lr_mult=1.0,
        last_layer_decay=True,
        precision="fp32",
    ),
)
