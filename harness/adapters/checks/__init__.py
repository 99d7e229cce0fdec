"""Runs a service's declared checks and probes in the sandbox, and says what was seen to pass. Decides no verdict."""

from harness.adapters.checks.runner import SandboxedChecks

__all__ = ["SandboxedChecks"]
