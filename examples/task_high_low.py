"""A task by name: bench run --plugin examples/task_high_low.py --task high-low --chain kd --data FOLDER."""

from models.front_end import FrontEnd
from models.task import WordsTask
from models.tasks import register


@register("high-low")
def high_low() -> WordsTask:
    """Two words of several, in clips of .8 s, with half the usual mel bands."""
    return WordsTask(
        ("high", "low"), with_unknown=True, name="high-low", clip_s=0.8, front_end=FrontEnd(mels=20)
    )
