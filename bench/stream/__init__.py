"""A model on audio of any length: features, probabilities, detections, in constant memory."""
