"""What to do with labels that are no classes, in the words of our tasks."""

from __future__ import annotations

HINT = 'use one class index per sample, from 0, or set [model] task = "regression"'
