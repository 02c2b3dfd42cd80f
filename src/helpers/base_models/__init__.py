"""The demo's two base models: what they learn, how they are built, their school and their exam (appendix)."""
