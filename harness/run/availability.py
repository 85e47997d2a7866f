"""Whether a runtime that is there can serve a target, and how to get what is missing."""

from __future__ import annotations

from dataclasses import replace

from harness.core.commands import install_elsewhere
from harness.core.contracts import Availability
from harness.core.target import CUDA, TENSORRT, Target

#: A default run needs about as much.
LEAST_FREE_BYTE = 500 * 10**6


def for_target(target: Target, availability: Availability) -> Availability:
    """Availability of a runtime for a target: it cannot run there without the provider of the target."""
    provider = target.deploy.provider
    if availability.reason or not provider or provider in availability.devices:
        return availability
    has = f"it has {', '.join(availability.devices) or 'none'}"
    reason, install = f"this runtime has no {provider} ({has})", provider_install(provider)
    if provider in availability.unusable:
        cause, install = availability.unusable[provider]
        reason = f"this runtime cannot use its {provider}: {cause} ({has})"
    return replace(availability, reason=reason, install=install)


#: Providers that need an NVIDIA GPU and a runtime built for it.
GPU_PROVIDERS = (CUDA, TENSORRT)


def provider_install(provider: str) -> str:
    """Say how to get a provider that the installed runtime was not built with; empty if that is unknown."""
    if provider not in GPU_PROVIDERS:
        return ""
    return f"on a machine with an NVIDIA GPU, in another virtual environment: {install_elsewhere('cuda')}"
