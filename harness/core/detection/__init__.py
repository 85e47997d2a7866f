"""Object detection in numpy: outputs to boxes, boxes that overlap, anchors, and labels as one array."""
