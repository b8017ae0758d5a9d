"""A vector of W doubles as a numba type: explicit SIMD that does not depend on the auto-vectoriser.

LLVM splits or joins it to the registers of the machine (W = 8: two AVX2 or one AVX-512). ``load``,
``store`` and ``fill`` take a C-contiguous float64 array and a flat index, without any check,
``get`` and ``put`` do the same with one number, since numba's own access looks for indices < 0;
+ - * / work on two vectors and on a vector and a number. The kernel of moment tensor potentials is
4 times faster with it than with the same loops left to LLVM's vectoriser.
"""

import operator
from collections.abc import Callable, Sequence
from math import factorial, log
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.datamodel import models
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

W = 8
"""Doubles in a vector."""

F64, I32 = ir.DoubleType(), ir.IntType(32)
VECTOR = ir.VectorType(F64, W)
FLAGS = ("contract", "reassoc", "nsz")

Generator = Callable[[Any, Any, Any, Any], Any]
_intrinsic: Any = intrinsic


class VectorType(types.Type):
    """The type of a vector in numba."""

    def __init__(self) -> None:
        super().__init__(name=f"float64x{W}")


vector = VectorType()


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """How a vector is kept: as LLVM's vector."""

    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)


@_intrinsic
def load(typing: Any, array: Any, index: Any) -> tuple[Any, Generator]:
    """``array[index : index + W]``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, sig, args), align=8)

    return vector(array, types.intp), generate


@_intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> tuple[Any, Generator]:
    """``array[index : index + W] = value``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, sig, args), align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@_intrinsic
def splat(typing: Any, number: Any) -> tuple[Any, Generator]:
    """Return the vector of equal numbers."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[0])

    return vector(types.float64), generate


@_intrinsic
def fill(typing: Any, array: Any, index: Any) -> tuple[Any, Generator]:
    """Return the vector of which each number is ``array[index]``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return _splat(builder, builder.load(builder.gep(data, [args[1]])))

    return vector(array, types.intp), generate


@_intrinsic
def get(typing: Any, array: Any, index: Any) -> tuple[Any, Generator]:
    """``array[index]`` of any dtype."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.load(builder.gep(data, [args[1]]))

    return array.dtype(array, types.intp), generate


@_intrinsic
def put(typing: Any, array: Any, index: Any, number: Any) -> tuple[Any, Generator]:
    """``array[index] = number`` of any dtype."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        builder.store(args[2], builder.gep(data, [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), generate


@_intrinsic
def vsum(typing: Any, value: Any) -> tuple[Any, Generator]:
    """Return the sum of the numbers of a vector."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start = ir.Constant(F64, 0.0)
        name = f"llvm.vector.reduce.fadd.v{W}f64"
        return _call(builder, name, F64, [start, args[0]], fastmath=("reassoc",))

    return types.float64(vector), generate


@_intrinsic
def vsqrt(typing: Any, value: Any) -> tuple[Any, Generator]:
    """Return the square root of each number."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, f"llvm.sqrt.v{W}f64", VECTOR, [args[0]])

    return vector(vector), generate


@_intrinsic
def vmax(typing: Any, value: Any, number: Any) -> tuple[Any, Generator]:
    """Return the larger of each number and ``number``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        arguments = [args[0], _splat(builder, args[1])]
        return _call(builder, f"llvm.maxnum.v{W}f64", VECTOR, arguments)

    return vector(vector, types.float64), generate


@_intrinsic
def vmin(typing: Any, value: Any, number: Any) -> tuple[Any, Generator]:
    """Return the smaller of each number and ``number``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        arguments = [args[0], _splat(builder, args[1])]
        return _call(builder, f"llvm.minnum.v{W}f64", VECTOR, arguments)

    return vector(vector, types.float64), generate


@_intrinsic
def any_below(typing: Any, value: Any, number: Any) -> tuple[Any, Generator]:
    """Tell if one of the numbers is smaller than ``number``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        below = builder.fcmp_ordered("<", args[0], _splat(builder, args[1]))
        bits = ir.IntType(W)
        return builder.icmp_unsigned("!=", builder.bitcast(below, bits), ir.Constant(bits, 0))

    return types.boolean(vector, types.float64), generate


@_intrinsic
def vexp(typing: Any, value: Any) -> tuple[Any, Generator]:
    """Return the exponential of each number, which is first brought into [-708, 709]."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x = args[0]
        for name, limit in (("maxnum", -708.0), ("minnum", 709.0)):
            x = _call(builder, f"llvm.{name}.v{W}f64", VECTOR, [x, _equal(limit)])
        n = builder.fmul(x, _equal(1 / log(2)))
        n = _call(builder, f"llvm.rint.v{W}f64", VECTOR, [n])
        for part in _LOG_2:  # what is left is within log(2) / 2 of zero
            x = builder.fsub(x, builder.fmul(n, _equal(part), flags=FLAGS[:1]), flags=FLAGS[:1])
        power = _equal(1 / factorial(13))
        for k in range(12, -1, -1):
            power = builder.fmul(power, x, flags=FLAGS[:1])
            power = builder.fadd(power, _equal(1 / factorial(k)), flags=FLAGS[:1])
        # n is now in the lowest bits of a large double; 2^n has it in those of the exponent
        bits = builder.bitcast(builder.fadd(n, _equal(1.5 * 2.0**52)), _INTEGERS)
        bits = builder.shl(bits, ir.Constant(_INTEGERS, [52] * W))
        bits = builder.add(bits, ir.Constant(_INTEGERS, [1023 << 52] * W))
        return builder.fmul(power, builder.bitcast(bits, VECTOR))

    return vector(vector), generate


@_intrinsic
def vlog(typing: Any, value: Any) -> tuple[Any, Generator]:
    r"""Return the logarithm of each number, all of them positive and not subnormal.

    Of a mantissa m between :math:`1 / \sqrt 2` and :math:`\sqrt 2` it is twice the area hyperbolic
    tangent of :math:`(m - 1) / (m + 1)`, whose series is added up to the power 23.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        root_half = int(np.float64(np.sqrt(0.5)).view(np.int64))
        bits = builder.bitcast(args[0], _INTEGERS)
        places = ir.Constant(_INTEGERS, [52] * W)
        power = builder.ashr(builder.sub(bits, ir.Constant(_INTEGERS, [root_half] * W)), places)
        m = builder.bitcast(builder.sub(bits, builder.shl(power, places)), VECTOR)
        n = builder.sitofp(power, VECTOR)
        s = builder.fdiv(builder.fsub(m, _equal(1.0)), builder.fadd(m, _equal(1.0)))
        square, series = builder.fmul(s, s), _equal(2 / 23)
        for k in range(21, 0, -2):
            series = builder.fmul(series, square, flags=FLAGS[:1])
            series = builder.fadd(series, _equal(2 / k), flags=FLAGS[:1])
        logarithm = builder.fmul(series, s)
        for part in reversed(_LOG_2):
            logarithm = builder.fadd(logarithm, builder.fmul(n, _equal(part)))
        return logarithm

    return vector(vector), generate


@_intrinsic
def vsums(
    typing: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any
) -> tuple[Any, Generator]:
    """Return the sums of W vectors as one vector."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vectors, step = list(args), 1
        while step < W:
            blocks = [range(start, start + step) for start in range(0, W, 2 * step)]
            low = [q for block in blocks for q in (*block, *(W + k for k in block))]
            orders = [ir.Constant(ir.VectorType(I32, W), [q + s for q in low]) for s in (0, step)]
            vectors = [
                builder.fadd(*(builder.shuffle_vector(x, y, order) for order in orders))
                for x, y in zip(vectors[::2], vectors[1::2])
            ]
            step *= 2
        return vectors[0]

    return vector(*[vector] * W), generate


@njit(forceinline=True)
def aligned(n: int) -> np.ndarray:
    """Return an array of n doubles that begins where a vector of the machine may.

    Numba's own may not, and then every vector lies across two lines of the cache.
    """
    whole = np.empty(n + W)
    start = -(whole.ctypes.data // whole.itemsize) % W
    return whole[start : start + n]


@njit(forceinline=True)
def cut(room: np.ndarray, start: int, n: int) -> tuple[np.ndarray, int]:
    """Return ``room[start : start + n]`` and where it ends.

    The work arrays of a kernel are cut from one block. Allocated one by one they lie to one another
    as the heap of the process has it, and in some processes they displace each other from the
    cache of first level: moment tensor potentials of level 20 then take 1.35 times longer.
    """
    return room[start : start + n], start + n


_INTEGERS = ir.VectorType(ir.IntType(64), W)
_LOG_2 = (float.fromhex("0x1.62e42fefap-1"), float.fromhex("0x1.cf79abc9e3b39p-40"))


def _equal(number: float) -> Any:
    return ir.Constant(VECTOR, [number] * W)


def _pointer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    return builder.bitcast(builder.gep(data, [args[1]]), VECTOR.as_pointer())


def _splat(builder: Any, number: Any) -> Any:
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, W), [0] * W))


def _call(builder: Any, name: str, result: Any, args: Sequence[Any], **options: Any) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in args])
    known = builder.module.globals.get(name)
    return builder.call(known or ir.Function(builder.module, kind, name), args, **options)


def _register(operation: Callable[..., Any], instruction: str) -> None:
    class Template(ConcreteTemplate):
        cases = [  # noqa: RUF012
            signature(vector, vector, vector),
            signature(vector, vector, types.float64),
            signature(vector, types.float64, vector),
        ]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, y = (a if t == vector else _splat(builder, a) for t, a in zip(sig.args, args))
        return getattr(builder, instruction)(x, y, flags=FLAGS)

    infer_global(operation)(Template)
    for case in Template.cases:
        lower_builtin(operation, *case.args)(generate)


_register(operator.add, "fadd")
_register(operator.sub, "fsub")
_register(operator.mul, "fmul")
_register(operator.truediv, "fdiv")
