"""Labels of images with boxes: COCO JSON, YOLO text files, Pascal VOC XML and CSV."""
