"""What a spec is called, in one line: for lists, titles and notebooks."""

from api_schemas.metrics import title_of as metric_title
from api_schemas.spec import JobSpec
from pathpatch.drawing.captions import dataset_words, patch_words

_SHOWN_METRICS = 2


def title_of(spec: JobSpec) -> str:
    """Its name, else what it asks: ``z 9.6 → q 10.7, skip connections only: KL from orig (ioi prompts, seed 0)``."""
    if spec.name is not None:
        return spec.name
    plain = spec.model_dump(mode="json", exclude_none=True)
    titles = [metric_title(metric) for metric in spec.all_metrics]
    measured = ", ".join(titles[:_SHOWN_METRICS])
    measured += f" and {len(titles) - _SHOWN_METRICS} more" if len(titles) > _SHOWN_METRICS else ""
    estimate = ", estimated" if spec.method == "attribution" else ""
    return f"{patch_words(plain['patch'])}{estimate}: {measured} ({dataset_words(plain['dataset'])})"
