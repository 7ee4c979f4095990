"""The ground of any computation: noise, devices, ranks, frozen models, blame."""
