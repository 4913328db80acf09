"""What a spec asks, in one line: for lists, titles and notebooks."""

from api_schemas.metrics import title_of as metric_title
from api_schemas.spec import JobSpec
from pathpatch.drawing.captions import dataset_words, patch_words

_SHOWN_METRICS = 2


def title_of(spec: JobSpec) -> str:
    """What the spec asks, its seed included: ``z 9.6 → q 10.7, ...: KL from orig (ioi prompts, abc, seed 0)``."""
    plain = spec.model_dump(mode="json", exclude_none=True)
    titles = [metric_title(metric) for metric in spec.all_metrics]
    measured = ", ".join(titles[:_SHOWN_METRICS])
    measured += f" and {len(titles) - _SHOWN_METRICS} more" if len(titles) > _SHOWN_METRICS else ""
    estimate = ", estimated" if spec.method == "attribution" else ""
    return f"{patch_words(plain['patch'])}{estimate}: {measured} ({dataset_words(plain['dataset'])})"
