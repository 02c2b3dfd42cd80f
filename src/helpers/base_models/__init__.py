"""The demo's two base models: what they learn, how they are built, pretrained and examined (appendix)."""
