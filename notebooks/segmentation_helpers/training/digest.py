"""A digest of what code computes and of the values that it holds, the same in every process."""

import dis
import enum
import functools
import hashlib
import inspect
import os
import pathlib
import re
import sys
import types

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

IMMUTABLE = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, type(...), range, slice)
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
MODULE = {*vars(nn.Module()), "training"}  # what torch keeps in every module
CLASS = {"__doc__", "__module__", "__qualname__", "__dict__", "__weakref__", "__annotations__", "__firstlineno__",
         "__static_attributes__", "__abstractmethods__", "_abc_impl", "__slots__", "__orig_bases__", "__parameters__",
         "_backward_cls", "_autograd_function_id"}  # fmt: skip


def code_digest(value, apart=()) -> str:
    """A digest of what a loss computes and of the values that it holds. Twelve characters, the same in every process.

    It sees the bytecode, constants, defaults and closure of a function, and all functions, classes and globals that it
    names; classes with their base classes, methods (static, class, property) and class attributes; what decorators,
    functools.partial, functools.lru_cache, torch.compile and torch.jit.script wrap; the attributes, parameters, buffers and
    parts of objects. Tensors, arrays, lists, dicts and sets count by value. Docstrings, comments and names of local
    variables do not count.

    Installed packages are seen by name alone: their functions and classes, and their objects but for modules, schedulers
    and what can be called, whose attributes count. Generators of random numbers, files and iterators are not seen. Nor is
    what belongs to an object in `apart`, such as the model that is trained.
    """
    digest = _Digest()
    for thing in apart:
        digest.leave_out(thing)
    digest.add(value, root=True)
    return digest.hexdigest()


def in_short(value) -> str:
    """A value as text that is the same in every process: where torch or Python would print an address, a digest."""
    if isinstance(value, (types.FunctionType, functools.partial, type)):
        return f"{getattr(value, '__qualname__', type(value).__name__)} {code_digest(value)}"
    if isinstance(value, torch.Tensor):  # of which str() shows four digits of some
        return f"tensor {tuple(value.shape)} {code_digest(value)}"
    text = str(value)
    return f"{ADDRESS.sub('', text)} {code_digest(value)}" if ADDRESS.search(text) else text


def text_digest(text) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class _Digest:
    """Walks through code and values; whatever it meets again is a reference to the first time."""

    def __init__(self):
        self.found, self.seen = hashlib.sha256(), {}

    def hexdigest(self):
        return self.found.hexdigest()[:12]

    def leave_out(self, thing):
        parts = [thing]
        if isinstance(thing, nn.Module):
            parts = [*thing.modules(), *thing.parameters(), *thing.buffers()]
        for part in parts:
            self.seen[id(part)] = (part, "apart")

    def note(self, *words):
        self.found.update("".join(f"{word};" for word in words).encode())

    def add(self, value, root=False):
        if isinstance(value, enum.Enum):
            self.note("enum", type(value).__qualname__, value.name)
        elif isinstance(value, IMMUTABLE):
            self.note(type(value).__name__, repr(value))
        elif isinstance(value, (pathlib.PurePath, os.PathLike)):
            self.note("path", os.fspath(value))
        elif isinstance(value, (tuple, frozenset)):  # whether two equal ones are one object is Python's affair
            self.add_new(value, root)
        elif id(value) in self.seen:
            self.note("again", self.seen[id(value)][1])
        else:
            self.seen[id(value)] = (value, len(self.seen))  # the object, too, so that no other takes its id
            self.add_new(value, root)

    def add_new(self, value, root):
        if isinstance(value, torch.Tensor):
            self.add_tensor(value)
        elif isinstance(value, (np.ndarray, np.generic)):
            self.note("array", value.dtype, value.shape, value.tolist() if value.dtype.hasobject else "")
            self.found.update(b"" if value.dtype.hasobject else np.ascontiguousarray(value).tobytes())
        elif isinstance(value, (tuple, list)):
            self.note(type(value).__name__, len(value))
            for item in value:
                self.add(item)
        elif isinstance(value, (set, frozenset)):
            self.note("set", *sorted(code_digest(item) for item in value))
        elif isinstance(value, (dict, types.MappingProxyType)):
            self.note("dict", len(value))
            for key in sorted(value, key=code_digest):
                self.add_pair(key, value[key])
        elif isinstance(value, re.Pattern):
            self.note("pattern", value.pattern, value.flags)
        elif isinstance(value, type):
            self.add_class(value)
        elif not self.add_code(value):
            self.add_object(value, root)

    def add_pair(self, name, value):
        self.add(name)
        self.add(value)

    def add_tensor(self, value):
        self.note("tensor", value.dtype, tuple(value.shape))
        if value.device.type != "meta":
            flat = value.detach().to_dense() if value.layout != torch.strided else value.detach()
            flat = flat.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
            self.found.update(flat.view(torch.uint8).numpy())

    # Code ------------------------------------------------------------------------------------------------------------

    def add_code(self, value) -> bool:
        """Add a function or what wraps one; False where it is another kind of object."""
        if isinstance(value, functools.partial):
            for part in (value.func, value.args, value.keywords):
                self.add(part)
        elif isinstance(value, types.MethodType):
            self.add(value.__self__)
            self.add(value.__func__)
        elif isinstance(value, (staticmethod, classmethod)):
            self.note(type(value).__name__)
            self.add(value.__func__)
        elif isinstance(value, property):
            self.add((value.fget, value.fset))
        elif isinstance(value, (functools.cached_property, functools.partialmethod)):
            self.add(value.func)
            self.add((getattr(value, "args", ()), getattr(value, "keywords", {})))
        elif isinstance(value, types.FunctionType):
            self.add_function(value)
        elif isinstance(value, types.ModuleType):
            self.note("module", value.__name__)
        elif isinstance(value, (torch.jit.ScriptFunction, torch.jit.ScriptModule)):
            self.note("script", value.code)
            if isinstance(value, torch.jit.ScriptModule):
                self.add(dict(value.state_dict()))
        elif (wrapped := inspect.getattr_static(value, "__wrapped__", None)) is not None:  # functools.lru_cache
            self.note(type(value).__name__)
            self.add(wrapped)
        elif isinstance(value, (types.BuiltinFunctionType, types.MethodWrapperType, np.ufunc)):
            self.note("built in", getattr(value, "__module__", ""), getattr(value, "__qualname__", value.__name__))
        else:
            return False
        return True

    def add_function(self, function):
        module = function.__globals__.get("__name__")
        wrapped = vars(function).get("__wrapped__")
        if module == "torch._dynamo.eval_frame" and wrapped is not None:  # what torch.compile returned
            self.add(wrapped)
            return
        if not is_own(module):
            self.note("function", module, function.__code__.co_qualname, function.__module__, function.__qualname__)
            self.add(wrapped)
            if wrapped is not None:  # a decorator: what it was given
                self.add_closure(function)
            return
        names = self.add_bytecode(function.__code__)
        for part in (function.__defaults__, function.__kwdefaults__, vars(function)):
            self.add(part)
        self.add_closure(function)
        for name in sorted(names & function.__globals__.keys()):
            self.add_pair(name, function.__globals__[name])

    def add_closure(self, function):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                self.add_pair(name, cell.cell_contents)
            except ValueError:  # not filled yet
                self.note(name, "empty")

    def add_bytecode(self, code) -> set:
        """Add what a code object does; returns the globals that it names.

        An instruction's constant or name counts, not its place in a list, which a docstring would shift.
        """
        names = set()
        self.note(
            code.co_argcount, code.co_kwonlyargcount, code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
        )
        for instruction in dis.get_instructions(code):
            if instruction.opcode in dis.hasconst and isinstance(instruction.argval, types.CodeType):
                names |= self.add_bytecode(instruction.argval)
            elif instruction.opcode in dis.hasconst:
                self.add(instruction.argval)
            elif instruction.opcode in (*dis.hasname, *dis.hasfree):
                self.note(instruction.opname, instruction.argval)
                if "GLOBAL" in instruction.opname or instruction.opname == "LOAD_NAME":
                    names.add(str(instruction.argval))
            else:
                self.note(instruction.opname, instruction.arg)
        return names

    def add_class(self, kind):
        for base in kind.__mro__:
            own = is_own(base.__module__)  # a notebook's classes are the same when it is run as a program
            self.note("class", "" if own else base.__module__, base.__qualname__)
            if own:
                for name, value in sorted(vars(base).items()):
                    if (
                        name not in CLASS
                        and "__annot" not in name
                        and not isinstance(value, (types.GetSetDescriptorType, types.MemberDescriptorType))
                    ):
                        self.add_pair(name, value)

    # Objects ---------------------------------------------------------------------------------------------------------

    def add_object(self, value, root):
        """The class of an object, and its attributes where they may matter."""
        kind = type(value)
        if kind.__module__ == "torch._dynamo.eval_frame" and isinstance(value, nn.Module):  # torch.compile of a module
            self.add(value._orig_mod)
            return
        self.add(kind)
        if not (root or callable(value) or isinstance(value, LRScheduler) or is_own(kind.__module__)
                or isinstance(value, types.SimpleNamespace)):  # fmt: skip
            return
        attributes = dict(getattr(value, "__dict__", {}))
        attributes |= {name: getattr(value, name) for name in _slots(kind) if hasattr(value, name)}
        if isinstance(value, nn.Module):
            parts = value._parameters | value._buffers | value._modules
            attributes = {key: item for key, item in attributes.items() if key not in MODULE} | parts
        for name, attribute in sorted(attributes.items()):
            self.add_pair(name, attribute)


def _slots(kind) -> list[str]:
    slots = [vars(base).get("__slots__", ()) for base in kind.__mro__]
    names = [name for names in slots for name in ([names] if isinstance(names, str) else names)]
    return [name for name in names if name not in ("__dict__", "__weakref__")]


@functools.cache
def is_own(module) -> bool:
    """Whether a module is a notebook, or the reader's own file, rather than Python's or an installed package's."""
    top = (module or "").partition(".")[0]
    if module == "__main__":  # also where an installed program (pytest, papermill) runs a notebook's code
        return True
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return False
    known = sys.modules.get(top)
    places = [known.__file__] if getattr(known, "__file__", None) else list(getattr(known, "__path__", ()))
    return not any({"site-packages", "dist-packages"} & set(pathlib.Path(place).parts) for place in places)
