"""Street scenes with exact masks, drawn on the spot: the project's default data set.

`draw_street` draws one scene. `write_streets`, `write_voc` and `write_stanford_background` write data sets in the layouts
of CamVid, PASCAL VOC and Stanford Background. `load_dataset("streets", split)` draws the set on first use and reads it.
"""

from .data import VERSION
from .scenes import draw_street
from .writers import write_stanford_background, write_streets, write_voc

__all__ = ["VERSION", "draw_street", "write_stanford_background", "write_streets", "write_voc"]
