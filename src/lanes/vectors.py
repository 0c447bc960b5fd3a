"""A small language for machine code: a Python function, the kernel, writes it once, and LLVM compiles it.

A kernel handles three kinds of run-time values: an Integer, a Pointer to floats, and a Vector, which has a float in
each of its lanes. What Python's own numbers, loops and ifs decide in a kernel is decided while it is written.
"""

import ctypes
import hashlib
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import llvmlite
from llvmlite import binding, ir

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "lanes"
KEPT = 64  # programs
FLOAT, INT32, INT64, POINTER = ir.FloatType(), ir.IntType(32), ir.IntType(64), ir.PointerType()


class Value:
    def __init__(self, code: "Code", ir: ir.Value):
        self.code, self.ir = code, ir


class Number(Value):
    """What can be added, subtracted and multiplied; `kind` is the letter of its instructions."""

    kind = ""

    def _with(self, instruction: str, other: "Number | float") -> "Number":
        other = self.code.vector(other) if self.kind else self.code.integer(other)
        # contract: a * b + c may be one instruction, rounded once
        flags = {"flags": ("contract",)} if self.kind == "f" else {}
        return type(self)(self.code, getattr(self.code.ir, instruction)(self.ir, other.ir, **flags))

    def __add__(self, other):
        return self._with(f"{self.kind}add", other)

    def __sub__(self, other):
        return self._with(f"{self.kind}sub", other)

    def __mul__(self, other):
        return self._with(f"{self.kind}mul", other)


class Integer(Number):
    def __mod__(self, other):
        return self._with("srem", other)


class Vector(Number):
    kind = "f"

    def __truediv__(self, other):
        return self._with("fdiv", other)


class Pointer(Value):
    """To a float; `p + 3` is to the third float after it."""

    def __add__(self, floats: Integer | int) -> "Pointer":
        return Pointer(self.code, self.code.ir.gep(self.ir, [self.code.integer(floats).ir], source_etype=FLOAT))

    def load(self) -> Vector:
        return Vector(self.code, self.code.ir.load(self.ir, typ=self.code.type, align=4 * self.code.lanes))

    def store(self, value: Vector) -> None:
        self.code.ir.store(value.ir, self.ir, align=4 * self.code.lanes)

    def broadcast(self) -> Vector:
        """The one float there, in each lane."""
        return self.code.broadcast(self.code.ir.load(self.ir, typ=FLOAT, align=4))


class Variable:
    """A value that changes in a loop."""

    def __init__(self, value: Integer | Pointer | Vector):
        self.code, self.kind, self.type = value.code, type(value), value.ir.type
        with self.code.ir.goto_entry_block():
            self.slot = self.code.ir.alloca(self.type)  # LLVM turns it into a register
        self.set(value)

    def get(self) -> Integer | Pointer | Vector:
        return self.kind(self.code, self.code.ir.load(self.slot, typ=self.type))

    def set(self, value: Integer | Pointer | Vector) -> None:
        self.code.ir.store(value.ir, self.slot)

    def add(self, value: Integer | int | Vector) -> None:
        self.set(self.get() + value)


class Code:
    """A function of machine code while it is written; `lanes` floats are a vector."""

    def __init__(self, function: ir.Function, lanes: int):
        self.ir, self.lanes = ir.IRBuilder(function.append_basic_block()), lanes
        self.type, self.ints = ir.VectorType(FLOAT, lanes), ir.VectorType(INT32, lanes)

    def integer(self, value: Integer | int) -> Integer:
        return value if isinstance(value, Integer) else Integer(self, INT64(value))

    def vector(self, value: Vector | float) -> Vector:
        return value if isinstance(value, Vector) else Vector(self, ir.Constant(self.type, [float(value)] * self.lanes))

    def broadcast(self, number: ir.Value) -> Vector:
        one = self.ir.insert_element(ir.Constant(self.type, ir.Undefined), number, INT32(0))
        return Vector(self, self.ir.shuffle_vector(one, one, ir.Constant(self.ints, None)))

    def number(self, value: Integer) -> Vector:
        return self.broadcast(self.ir.sitofp(value.ir, FLOAT))

    def call(self, name: str, *args: Vector | float) -> Vector:
        """LLVM's own function of vectors `name`: sqrt, minnum, maxnum."""
        args = [self.vector(a).ir for a in args]
        function = self.declared(f"llvm.{name}.v{self.lanes}f32", self.type, [self.type] * len(args))
        return Vector(self, self.ir.call(function, args))

    def declared(self, name: str, result: ir.Type, args: list[ir.Type]) -> ir.Function:
        module = self.ir.module
        return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, args), name)

    def where_positive(self, x: Vector, then: float, otherwise: float) -> Vector:
        positive = self.ir.fcmp_ordered(">", x.ir, self.vector(0).ir)
        return Vector(self, self.ir.select(positive, self.vector(then).ir, self.vector(otherwise).ir))

    def exp(self, x: Vector) -> Vector:
        """e^x = 2^n e^r with |r| <= log(2) / 2, where Taylor's polynomial of degree 7 is within 6e-9 (Cody & Waite)."""
        x = self.call("minnum", self.call("maxnum", x, -87.0), 88.0)
        n = x * 1.4426950408889634 + 12582912.0  # 1.5 * 2^23: the sum's last bits are the nearest integer
        whole = n - 12582912.0
        r = (
            x - whole * 0.693145751953125 - whole * 1.428606765330187e-06
        )  # log 2 in two parts; the first times n is exact
        power, term = self.vector(1 / 5040), 5040
        for k in range(7, 0, -1):
            term //= k
            power = power * r + 1 / term
        bits = self.ir.shl(self.ir.bitcast(n.ir, self.ints), ir.Constant(self.ints, [23] * self.lanes))
        return Vector(self, self.ir.bitcast(self.ir.add(self.ir.bitcast(power.ir, self.ints), bits), self.type))

    def store_totals(self, p: Pointer, values: Sequence[Vector]) -> None:
        """To p[i] the sum over the lanes of values[i], of at most as many as there are lanes.

        As in a tournament: of each two vectors one, of sums of neighbours, until there is one of totals.
        """
        n, values = len(values), list(values)
        even, odd = ([2 * i + first for i in range(self.lanes)] for first in (0, 1))
        for _ in range(self.lanes.bit_length() - 1):
            values += values[-1:] * (len(values) % 2)
            pairs = zip(values[::2], values[1::2], strict=True)
            values = [self.shuffled(a, b, even) + self.shuffled(a, b, odd) for a, b in pairs]
        bits = ir.VectorType(ir.IntType(1), self.lanes)
        args = [self.type, POINTER, INT32, bits]
        store = self.declared(f"llvm.masked.store.v{self.lanes}f32.p0", ir.VoidType(), args)
        present = ir.Constant(bits, [i < n for i in range(self.lanes)])
        self.ir.call(store, [values[0].ir, p.ir, INT32(4), present])

    def shuffled(self, a: Vector, b: Vector, order: list[int]) -> Vector:
        return Vector(self, self.ir.shuffle_vector(a.ir, b.ir, ir.Constant(self.ints, order)))

    @contextmanager
    def loop(self, stop: Integer | int, step: int = 1, counter: Variable | None = None) -> Iterator[Integer]:
        """For i from 0, or from where `counter` is, while i + step <= stop."""
        counter = counter or Variable(self.integer(0))
        head, body, end = (self.ir.append_basic_block() for _ in range(3))
        self.ir.branch(head)
        self.ir.position_at_end(head)
        i = counter.get()
        self.ir.cbranch(self.ir.icmp_signed("<=", (i + step).ir, self.integer(stop).ir), body, end)
        self.ir.position_at_end(body)
        yield i
        counter.set(i + step)
        self.ir.branch(head)
        self.ir.position_at_end(end)

    @contextmanager
    def loops(self, *stops: Integer | int) -> Iterator[tuple[Integer, ...]]:
        """Loops in each other, the last one innermost."""
        with ExitStack() as stack:
            yield tuple([stack.enter_context(self.loop(stop)) for stop in stops])

    def blocks(self, stop: Integer | int, step: int, rest: int) -> Iterator[tuple[Integer, int]]:
        """(i, step) for i in steps up to `stop`, then once (i, rest) where a `rest` remains."""
        counter = Variable(self.integer(0))
        with self.loop(stop, step, counter) as i:
            yield i, step
        if rest:
            yield counter.get(), rest

    @contextmanager
    def if_less(self, a: Integer, b: Integer | int) -> Iterator[None]:
        with self.ir.if_then(self.ir.icmp_signed("<", a.ir, self.integer(b).ir)):
            yield


class Address(NamedTuple):
    """What becomes a kernel's Pointer: so many floats after the start of one of the program's arrays."""

    array: int
    offset: int


class Kernel(NamedTuple):
    """How to write a function: kinds are those of its run-time arguments; the constants are Python values."""

    write: Callable
    kinds: tuple[type, ...]


def kernel(write: Callable) -> Kernel:
    """A function of (code, run-time arguments, *, constants) that writes itself.

    A run-time argument is an Integer, a Pointer, or a NamedTuple of them.
    """
    parameters = list(inspect.signature(write).parameters.values())[1:]
    return Kernel(write, tuple(p.annotation for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD))


def fields(kind: type) -> list[type]:
    """The Integers and Pointers of which an argument consists."""
    return [kind] if kind in (Integer, Pointer) else [f for each in kind.__annotations__.values() for f in fields(each)]


def flat(argument: object) -> list[Address | int]:
    """The same of a call's argument."""
    return [f for each in argument for f in flat(each)] if type(argument) not in (Address, int) else [argument]


def assembled(kind: type, values: Iterator) -> object:
    if kind in (Integer, Pointer):
        return next(values)
    return kind(*(assembled(each, values) for each in kind.__annotations__.values()))


class Call(NamedTuple):
    """One call of a kernel in a program: its arguments with addresses for pointers, and its constants."""

    kernel: Kernel
    arguments: tuple
    constants: dict[str, object]


def program(functions: dict[str, Sequence[Call]], arrays: int, lanes: int) -> str:
    """LLVM's text of functions of so many arrays (pointers to floats), each of which makes its calls in order."""
    module, written = ir.Module(), {}
    for name, calls in functions.items():
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER] * arrays), name)
        main = Code(function, lanes)
        starts = [Pointer(main, a) for a in function.args]
        for call in calls:
            key = call.kernel.write.__name__, tuple(sorted(call.constants.items()))
            if key not in written:
                written[key] = write(module, call, f"{key[0]}_{len(written)}", lanes)
            values = [v for argument in call.arguments for v in flat(argument)]
            values = [starts[v.array] + v.offset if isinstance(v, Address) else main.integer(v) for v in values]
            main.ir.call(written[key], [v.ir for v in values])
        main.ir.ret_void()
    return str(module)


def write(module: ir.Module, call: Call, name: str, lanes: int) -> ir.Function:
    kinds = [f for kind in call.kernel.kinds for f in fields(kind)]
    types = [POINTER if kind is Pointer else INT64 for kind in kinds]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
    function.attributes.add("noinline")  # once, and not once a layer
    code = Code(function, lanes)
    values = iter([kind(code, argument) for kind, argument in zip(kinds, function.args, strict=True)])
    call.kernel.write(code, *(assembled(kind, values) for kind in call.kernel.kinds), **call.constants)
    code.ir.ret_void()
    return function


def of_this_machine() -> tuple[int, int] | None:
    """Floats in a vector, and vectors in the registers; None on a machine that is too old or of another kind."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16, 32
    return (8, 16) if features.get("avx2") and features.get("fma") else None


def compiled(text: str, functions: dict[str, int]) -> dict[str, Callable[..., None]]:
    """Those functions of a program, each of so many arrays. The code is kept in the user's cache folder."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    host = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    kept = CACHE / hashlib.sha256("\n".join([llvmlite.__version__, *host, text]).encode()).hexdigest()
    code = read_code(kept)
    machine = binding.Target.from_default_triple().create_target_machine(*host, opt=2)
    module = binding.parse_assembly(text)
    if code is None:
        options = binding.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = (
            False  # tiles are in registers
        )
        passes = binding.create_pass_builder(machine, options)
        passes.getModulePassManager().run(module, passes)
    engine = binding.create_mcjit_compiler(module, machine)
    engine.set_object_cache(lambda _, made: write_code(kept, made), lambda _: code)
    engine.finalize_object()
    found = {}
    for name, arrays in functions.items():
        found[name] = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arrays)(engine.get_function_address(name))
        found[name].engine = engine  # it holds the code
    return found


def read_code(file: Path) -> bytes | None:
    """Code that `write_code` kept, where it is there and whole."""
    try:
        digest, code = (content := file.read_bytes())[:32], content[32:]
    except OSError:
        return None
    return code if hashlib.sha256(code).digest() == digest else None


def write_code(file: Path, code: bytes) -> None:
    """Keep code for other processes, in place of what has not been used for longest; without a place for it, do not."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        for old in sorted(file.parent.iterdir(), key=lambda f: f.stat().st_mtime)[:-KEPT]:
            old.unlink()
        part = file.with_suffix(f".{os.getpid()}")
        part.write_bytes(hashlib.sha256(code).digest() + code)
        part.replace(file)
