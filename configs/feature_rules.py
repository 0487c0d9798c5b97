"""Rules of settings: encoders of which a part is frozen, and features of frames that are computed once."""

from configs.schema import Config

Rule = tuple[bool, str]  # whether it holds, and the error message if not


def feature_rules(config: Config) -> list[Rule]:
    """List the rules of encoders of which a part is frozen, and of features that are kept.

    Args:
        config: to check.

    Returns:
        [(whether it holds, the error message if not)].
    """
    model, train = config.model, config.train
    rules: list[Rule] = [
        (
            not train.tuned_stages or model.pretrained,
            "train.tuned_stages must be 0 with model.vision_weights none: an encoder from scratch learns as a whole",
        ),
        (
            not train.tuned_stages or train.lr_vision > 0,
            "train.tuned_stages must be 0 with train.lr_vision 0, which freezes all stages",
        ),
        (
            not train.tuned_stages or train.freeze_norm,
            "train.tuned_stages must be 0 with train.freeze_norm false: frozen stages keep their batch norm statistics",
        ),
    ]
    return rules + _rules_of_kept_features(config) if config.keeps_features else rules


def _rules_of_kept_features(config: Config) -> list[Rule]:
    hint = "or data.feature_views 0 to encode frames in each step"
    return [
        (not config.train.low_res_until, f"train.low_res_until must be 0 for a frozen encoder's features, {hint}"),
        (
            config.data.feature_frames >= config.data.moments,
            f"data.feature_frames must be at least data.moments ({config.data.moments}), {hint}",
        ),
        (
            config.train.negatives != "off_grid",
            f"train.negatives must not be off_grid where a frozen encoder's features are kept, {hint}",
        ),
        (
            config.model.name != "PixelPlayer" or config.data.feature_frames >= config.mix.frames,
            f"data.feature_frames must be at least mix.frames ({config.mix.frames}), {hint}",
        ),
        (
            config.model.name != "PixelPlayer" or config.mix.frame_fit == "squeeze",
            f"mix.frame_fit must be squeeze where a frozen encoder's features are kept, {hint}",
        ),
    ]
