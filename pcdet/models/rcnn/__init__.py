"""Second stages: they score and refine the boxes that the first stage proposes."""

from pcdet.models.rcnn.partA2_rcnn_net import FCRCNN, SpConvRCNN

RCNNS = {"SpConvRCNN": SpConvRCNN, "FCRCNN": FCRCNN}
