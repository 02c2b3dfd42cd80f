"""What a text is worth in photographs: pretrained encoders, a closed-form map between them, classes never seen.

Two frozen encoders, one of photographs and one of sentences, share no space. A bilinear map between them (`mapping`) is
learned on *seen* classes, which have photographs and texts; *unseen* classes are then recognised by their texts alone.
No vision-language model is fine-tuned here.
"""
