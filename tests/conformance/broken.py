"""Engines with one rule broken: the engine's own text with one place replaced, loaded under a name of its own.

A text that is not found any more is an error of this table, not an engine that was caught: see `test_broken`.
"""

# ruff: noqa: E501 (a row of the table is a line, as long as the text that it replaces)

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import gradverify.engine
from gradverify.conformance import engines
from gradverify.conformance.engines import Engine, like_torch

HOME = Path(gradverify.engine.__file__).parent


@dataclass(frozen=True)
class Broken:
    """`old` in `module` (of gradverify.engine) is replaced by `new`."""

    name: str
    module: str
    old: str
    new: str

    def load(self) -> Engine:
        """The broken engine. Raises LookupError if the text is not there exactly once."""
        package = f"gradverify.broken_{self.name}"
        for name in [m for m in sys.modules if m == package or m.startswith(f"{package}.")]:
            del sys.modules[name]
        finder = _Finder(package, f"{package}.{self.module}", self)
        sys.meta_path.insert(0, finder)
        try:
            importlib.import_module(package)
        finally:
            sys.meta_path.remove(finder)
        if not finder.used:
            raise LookupError(f"{self.name}: no module {self.module} was loaded")
        return like_torch(f"broken_{self.name}", f"import {package} as torch", "gradverify")


def forget() -> None:
    """Unload all broken engines: each is 6 MB of modules, held by `sys.modules`, the package and the cache of environments."""
    for name in [m for m in sys.modules if m.startswith("gradverify.broken_")]:
        del sys.modules[name]
    for name in [n for n in vars(gradverify) if n.startswith("broken_")]:
        delattr(gradverify, name)
    engines._imported.cache_clear()


class _Finder:
    def __init__(self, package: str, target: str, broken: Broken) -> None:
        self.package, self.target, self.broken, self.used = package, target, broken, False

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == self.package:
            file = str(HOME / "__init__.py")
            return importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(HOME)])
        if name != self.target:
            return None
        self.used = True
        spec = PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(name, spec.origin, self.broken)
        return spec


class _Loader(SourceFileLoader):
    """Never through the cache of compiled files, which is kept by path."""

    def __init__(self, name: str, path: str, broken: Broken) -> None:
        super().__init__(name, path)
        self.broken = broken

    def get_code(self, fullname: str) -> CodeType:
        text = Path(self.path).read_text(encoding="utf-8")
        if text.count(self.broken.old) != 1:
            raise LookupError(
                f"{self.broken.name}: {self.broken.old!r} is {text.count(self.broken.old)} times in {self.path}"
            )
        return compile(text.replace(self.broken.old, self.broken.new), self.path, "exec", dont_inherit=True)


WALK, HOOKS, DISPATCH, NODES, FUNCTION, GRADIENTS = (
    "autograd.walk",
    "autograd.hooks",
    "dispatch",
    "nodes",
    "autograd.function",
    "autograd.gradients",
)

BROKEN = (
    # accumulation
    Broken("overwrites_grad", WALK, "into += g", "into[...] = g"),
    Broken("new_buffer_each_time", WALK, "into += g", "leaf._grad = wrap(into + g)"),
    Broken("overwrites_within_a_call", WALK, "pending[target] = d if have is None else have + d", "pending[target] = d"),
    Broken("averages_paths", WALK, "pending[target] = d if have is None else have + d",
           "pending[target] = d if have is None else (have + d) / 2"),
    Broken("shares_buffers", WALK, "    if not COUNTED or type(g)", "    return True\n    if not COUNTED or type(g)"),
    Broken("adds_in_place_to_shared", WALK, "pending[target] = d if have is None else have + d",
           "pending[target] = d if have is None else np.add(have, d, out=have if type(have) is np.ndarray else None)"),
    Broken("fills_untouched_leaves", WALK, "g = pending.pop(node, None)\n    k = goals",
           "g = pending.pop(node, None)\n    if g is None:\n        g = np.zeros_like(node.variable._data)\n    k = goals"),
    Broken("leaf_arrives_early", WALK, "if not uses[target]:", "if True:"),
    Broken("forgets_order", WALK, "return sorted(found, key=_by_sequence, reverse=True), uses", "return sorted(found, key=_by_sequence), uses"),
    Broken("second_slot_dropped", WALK, "                if edge is None:\n                    continue\n                target, output = edge",
           "                if edge is None or edge in node.edges[:k]:\n                    continue\n"
           "                target, output = edge"),
    # flags
    Broken("propagates_all_not_any", DISPATCH, "    plan = rule.plans.get(wanted) or rule.plan(",
           "    if any(isinstance(a, Tensor) and not a._requires_grad for a in args):\n        return\n"
           "    plan = rule.plans.get(wanted) or rule.plan("),
    Broken("integers_require_grad", "tensor", "if value and self.dtype.category < dtypes.FLOAT:", "if False:"),
    Broken("result_flags_change", "tensor", "if self._edge is not None:\n            if value:", "if False:\n            if value:"),
    Broken("retains_everything", DISPATCH, "        out._requires_grad = True\n        out._edge = (node, 0)\n\n    rule.leaves",
           "        out._requires_grad = True\n        out._edge = (node, 0)\n        out.retain_grad()\n\n    rule.leaves"),
    Broken("retain_overwrites", "tensor", "g.clone() if tensor._grad is None else tensor._grad + g", "g.clone()"),
    Broken("retain_does_nothing", "tensor", "node.hooks_of(output).retain = keep", "pass"),
    Broken("retain_before_hooks", HOOKS, "    for hook in list(hooks.user.values()):\n        given",
           "    if hooks.retain is not None:\n        hooks.retain(_to_user(g, tensors)); hooks = type(hooks)()\n"
           "    for hook in list(hooks.user.values()):\n        given"),
    Broken("retain_on_no_grad_is_silent", "tensor", 'raise RuntimeError("can\'t retain_grad', 'str("can\'t retain_grad'),
    # cuts
    Broken("detach_copies", "api.conversion", "out = wrap(input._array())\n    out._version_cell, out._inference = input._cell(), input._inference",
           "out = wrap(input._array().copy())"),
    Broken("detach_own_version", "api.conversion", "out._version_cell, out._inference = input._cell(), input._inference", "pass"),
    Broken("detach_keeps_history", "api.conversion", "out._version_cell, out._inference = input._cell(), input._inference\n    return out",
           "out._version_cell = input._cell()\n    out._edge, out._requires_grad = input._edge, input._requires_grad\n"
           "    return out"),
    Broken("no_grad_leaks_on_exception", "modes", "        _restore(self._restore.pop())",
           "        if exc[0] is None:\n            _restore(self._restore.pop())"),
    Broken("no_grad_ends_enabled", "modes", "        _restore(self._restore.pop())",
           "        self._restore.pop()\n        state.enabled = True"),
    Broken("no_grad_does_nothing", "modes", "        state.enabled = self.enabled\n        if self.inference",
           "        if self.inference"),
    Broken("enable_grad_does_nothing", "modes", "    enabled = True\n\n\nclass set_grad_enabled",
           "    def __enter__(self):\n        self._restore.append((state.enabled, state.inference))\n\n\nclass set_grad_enabled"),
    Broken("backward_leaves_mode_off", WALK, "        state.enabled = before", "        pass"),
    Broken("frozen_gets_gradient", WALK, "if g is None or not leaf._requires_grad:", "if g is None:"),
    # freeing
    Broken("keeps_after_free", WALK, "not checked, not retain_graph", "not checked, False"),
    Broken("frees_although_retained", WALK, "not checked, not retain_graph", "not checked, True"),
    Broken("saved_kept_but_marked", NODES, "            self.saved = Freed\n", "            self.old, self.saved = self.saved, Freed\n"),
    Broken("freed_gives_zeros", NODES, "        if saved is Freed:\n            raise RuntimeError(FREED)\n        if self.packed",
           "        if saved is Freed:\n            return [g * 0] * len(self.edges)\n        if self.packed"),
    Broken("create_graph_frees", GRADIENTS, "retain = create_graph if retain_graph is None else retain_graph\n    found",
           "retain = bool(retain_graph)\n    found"),
    Broken("leaf_and_node_cycle", "tensor", "self._accumulator = weakref.ref(node)", "self._accumulator = lambda: node"),
    Broken("root_without_grad_is_silent", GRADIENTS, 'raise RuntimeError(f"element {k} of tensors does not', 'continue  # (f"'),
    Broken("gradient_broadcasts", GRADIENTS, "if g._data.shape != out._data.shape:", "if False:"),
    # grad and inputs
    Broken("grad_fills_grad", WALK, "        goals.captured[k] = g\n        return", "        goals.captured[k] = g"),
    Broken("unused_is_none_silently", GRADIENTS, "            if not allow_unused:\n", "            if False:\n"),
    Broken("grad_in_graph_order", GRADIENTS, "    return tuple(result)", "    return tuple(result[::-1])"),
    Broken("same_input_once", WALK, "return [goals.captured[places[edge]] for edge in capture or ()]",
           "return [goals.captured[i] if places[edge] == i else None for i, edge in enumerate(capture or ())]"),
    Broken("inputs_ignored", WALK, "return self.leaves is None or leaf in self.leaves", "return self.leaves is None or bool(self.leaves)"),
    Broken("empty_inputs_are_all", GRADIENTS, "if inputs is not None and not isinstance(inputs, Tensor) and len(inputs) == 0:",
           "if False:"),
    # second derivatives
    Broken("create_graph_detaches", NODES, "        if over is not None:\n            return self._record_backward(g, over)",
           "        if over is not None:\n            return [d if d is None else d.detach() for d in self._record_backward(g, over)]"),
    Broken("always_creates_graph", WALK, "    root = GraphRoot(roots)",
           "    create_graph, roots = True, [(e, g if isinstance(g, Tensor) else wrap(g)) for e, g in roots]\n"
           "    root = GraphRoot(roots)"),
    Broken("cotangent_is_constant", GRADIENTS, "\n        roots.append((out._gradient_edge(), seed if create_graph",
           "\n        roots.append((out._gradient_edge(), seed.detach() if create_graph"),
    # hooks
    Broken("hook_called_twice", HOOKS, "        changed = hook(given)\n", "        hook(given)\n        changed = hook(given)\n"),
    Broken("hook_result_dropped", HOOKS, "            g = _from_user(changed, tensors)\n    if hooks.retain", "            pass\n    if hooks.retain"),
    Broken("hooks_in_reverse", HOOKS, "for hook in list(hooks.user.values()):", "for hook in list(hooks.user.values())[::-1]:"),
    Broken("removed_hook_stays", "tape", "        self._hooks.pop(self.id, None)", "        pass"),
    Broken("remove_takes_all", "tape", "        self._hooks.pop(self.id, None)", "        self._hooks.clear()"),
    Broken("leaf_hook_sees_total", WALK, "        g = run_hooks(leaf._hooks, g, tensors)",
           "        g = run_hooks(leaf._hooks, g if leaf._grad is None else g + leaf._grad._data, tensors)"),
    Broken("post_accumulate_before", WALK, "    have = leaf._grad\n",
           "    for hook in list((leaf._post_accumulate or {}).values()):\n        hook(leaf)\n    have = leaf._grad\n"),
    # in place, versions, views
    Broken("version_check_dropped", NODES, "if cell is not None and cell[0] != (0 if versions is None else versions.get(k, 0)):", "if False:"),
    Broken("output_version_unchecked", NODES, "if cell is not None and cell[0] != self.version:", "if False:"),
    Broken("version_not_counted", "views", "    x._cell()[0] += 1", "    x._cell()"),
    Broken("view_has_own_version", "tensor", "    out._version_cell = source._cell()\n    steps", "    steps"),
    Broken("leaf_edit_allowed", "views", "    elif x._requires_grad and x._edge is None:", "    elif False:"),
    Broken("leaf_view_edit_allowed", "views", "if x._view.base._edge is None and x.requires_grad:", "if False:"),
    Broken("no_grad_view_edit_allowed", "tensor", "    if not state.enabled:\n        forbidden", "    if False:\n        forbidden"),
    Broken("edit_not_recorded", "views", "    recorded = new._requires_grad and state.enabled", "    recorded = False"),
    Broken("base_does_not_learn", "views", "    move_history(base, (CopySlices(old, new._edge, steps, base), 0), True)",
           "    return move_history(x, new._edge, new._requires_grad)"),
    Broken("view_does_not_learn", "tensor", "        if now == self.version:", "        if True:"),
    Broken("old_value_lost", "views", "        old = wrap(x._array().copy())", "        old = wrap(x._array())"),
    Broken("slice_gets_all", "views", "        _store(there, 0)\n", ""),
    Broken("retain_stays_behind", "tensor", "    if x._retains_grad and x._edge is not None:", "    if False:"),
    # functions
    Broken("needs_all_input_grads", FUNCTION, "tuple(isinstance(a, Tensor) and a.requires_grad for a in args)",
           "tuple(isinstance(a, Tensor) for a in args)"),
    Broken("unused_outputs_are_none", FUNCTION, "elif self.materialize_grads and meta is not None:", "elif False:"),
    Broken("count_of_gradients_unchecked", FUNCTION, "        if len(back) != n:", "        back += [None] * (n - len(back))\n        if False:"),
    Broken("shape_of_gradient_unchecked", FUNCTION, "            if d._data.shape != shape:", "            if False:"),
    Broken("saved_tensors_not_freed", FUNCTION, "        if self._saved:\n            self._saved = None", "        pass"),
    Broken("saved_tensors_unguarded", FUNCTION, "            if cell[0] != version:", "            if False:"),
    Broken("non_differentiable_ignored", FUNCTION, "any(out is x for x in ctx.non_differentiable)", "False"),
    # what random programs found, and what keeps them apart
    Broken("siblings_may_be_edited", "api.joining", "        if part._view is not None and part._view.forbidden is None:", "        if False:"),
    Broken("expanded_may_be_edited", "views", "    if not alike and any(n > 1 and s == 0", "    if False and any(n > 1 and s == 0"),
    Broken("overlap_unchecked", "views", "    if a.nbytes != b.nbytes or not same_place(x, other):", "    if False:"),
    Broken("detached_saved_unnoticed", NODES, "                if t._edge is None and (edge := self.edges[k]) is not None and not edge[0].ends:", "                if False:"),
    Broken("view_detached_in_place", "api.conversion", "    if input._view is not None:\n        raise", "    if False:\n        raise"),
    Broken("no_grad_view_is_a_leaf", "tensor", "    out._view = View(base, steps, forbidden)\n",
           "    out._view = View(base, steps, forbidden)\n    out._requires_grad = out._requires_grad or base._requires_grad\n"),
    Broken("data_counts_versions", "tensor", "        return wrap(self._array())\n\n    @data.deleter",
           "        out = wrap(self._array())\n        out._version_cell = self._cell()\n        return out\n\n    @data.deleter"),
    Broken("assigned_data_is_copied", "tensor", "        self._data = new._array()", "        self._data = new._array().copy()"),
    Broken("dirty_is_not_rebased", FUNCTION, "                rebase(out, end)", "                pass"),
    Broken("dirty_counts_no_version", FUNCTION, "            x._cell()[0] += 1", "            x._cell()"),
    Broken("dirty_leaf_allowed", FUNCTION, "                check_writable(out, done=True)", "                pass"),
    Broken("always_materializes", FUNCTION, "elif self.materialize_grads and meta is not None:", "elif meta is not None:"),
    Broken("saves_anything", FUNCTION, "            if x is not None and not isinstance(x, Tensor):", "            if False:"),
    Broken("returned_input_is_taken", FUNCTION, "if not dirty and any(out is a for a in args):", "if False:"),
    Broken("hooks_skip_none", HOOKS, "        changed = hook(given)\n", "        changed = None if g is None else hook(given)\n"),
    Broken("removal_skips_the_next_hook", HOOKS, "    for hook in list(hooks.user.values()):\n        given",
           "    at = 0\n    while at < len(hooks.user):\n        hook = list(hooks.user.values())[at]\n        at += 1\n        given"),
    Broken("hook_may_change_the_shape", HOOKS, "    if after._data.shape != before._data.shape:", "    if False:"),
    Broken("hook_may_change_the_dtype", HOOKS, "    if after._data.dtype != before._data.dtype:", "    if False:"),
    Broken("returned_view_may_be_edited", FUNCTION, "View(out._view.base, out._view.path(), Creation.CUSTOM_FUNCTION)", "None"),
    Broken("function_defaults_unseen", FUNCTION, "            call.apply_defaults()", "            pass"),
    Broken("marked_input_stays_differentiable", "autograd.function", "            if any(out is x for x in ctx.non_differentiable):\n",
           "            if not any(out is a for a in args) and any(out is x for x in ctx.non_differentiable):\n"),
    Broken("gradient_of_a_constant_is_dropped", "autograd.function", "            if d is None:\n                out.append(None)",
           "            if d is None or self.edges[k] is None:\n                out.append(None)"),
    Broken("answer_of_a_post_accumulate_hook_is_dropped", "autograd.walk", "            if hook(leaf) is not None:", "            if hook(leaf) is Ellipsis:"),
    Broken("gradient_of_nothing_is_empty", "autograd.gradients", "    if not given:\n", "    if not given and not outs:\n"),
    Broken("written_tangents_stay_behind", "views", "    if state.duals:\n        _write_tangents", "    if False:\n        _write_tangents"),
    Broken("constants_keep_tangents", "views", "in {**(x._tangents or {}), **(new._tangents or {})}:", "in new._tangents or {}:"),
    Broken("view_keeps_old_tangents", "views", "        write(part, partial(_as_written, d))\n", "        base._tangents[level] = part = d\n"),
    Broken("norm_of_order_zero_is_of_order_one", "api.reduction", "    if order == 0:", "    if order == 0 and (order := 1.0) is None:"),
    Broken("norm_of_order_minus_infinity_is_the_largest", "api.reduction", 'return run("min", run("abs"', 'return run("max", run("abs"'),
    Broken("root_counts_once", WALK, "        return list(self.seeds)",
           "        return [s if e not in self.edges[:k] else None for k, (e, s) in enumerate(zip(self.edges, self.seeds))]"),
    Broken("hook_hears_later_edits", "views", "        _lead_past(node, x._edge, len(steps))", "        pass"),
    Broken("parts_have_nodes_of_their_own", "api.joining", "    return under_one_node(node, _forbid_writes(parts))\n\n\ndef _forbid", "    return _forbid_writes(parts)\n\n\ndef _forbid"),
    Broken("strided_gradient_in_another_order", "local_ops", "xp.index_put_add(flat, (at,), (slots,))", "xp.index_put_add(flat, (at[::-1],), (slots,))"),
    Broken("strided_view_is_a_copy", "local_ops", "strided(x, size, stride, offset),", "strided(x, size, stride, offset).copy(),"),
    Broken("views_follow_a_new_layout", "tensor", "        return (*self.base._undo[:since], *self.steps) if since else self.steps", "        return self.steps"),
    Broken("layout_of_a_leaf_may_change", "api.strided", "        check_writable(self)\n        old", "        old"),
    Broken("schedules_in_closed_form", "optim.lr_scheduler", "        return [rate * self.gamma for rate in self.rates()]\n\n    def _get_closed_form_lr(self) -> list[float]:\n        return [base * self.gamma ** (self.last_epoch // self.step_size)",
           "        return self._get_closed_form_lr()\n\n    def _get_closed_form_lr(self) -> list[float]:\n        return [base * self.gamma ** (self.last_epoch // self.step_size)"),
    Broken("schedule_undoes_the_users_rate", "optim.lr_scheduler", "return self.rates() if self.last_epoch == 0 else [rate * self.gamma for rate in self.rates()]", "return self._get_closed_form_lr()"),
)  # fmt: skip
