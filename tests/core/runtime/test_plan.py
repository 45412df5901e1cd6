"""The types of a plan and how a person reads them."""

from __future__ import annotations

from mobyshell.core.runtime.plan import (
    Actor,
    Call,
    Cell,
    Data,
    Flags,
    Operation,
    Phase,
    Plan,
    Text,
    Vector,
    operation_json,
    show_call,
)  # fmt: skip


def operation(actor: Actor, phase: Phase, title: str) -> Operation:
    return Operation(actor=actor, phase=phase, title=title, why="because")


def test_calls_read_like_strace() -> None:
    call = Call(
        "openat2",
        (Cell("root"), Text("etc"), Data(b"\0" * 24, "{O_PATH|O_CLOEXEC, RESOLVE_IN_ROOT}"), 24),
        result=Cell("etc"),
    )
    assert show_call(call) == (
        'openat2(<root>, "etc", {O_PATH|O_CLOEXEC, RESOLVE_IN_ROOT}, 24) -> <etc>'
    )
    assert show_call(Call("umount2", (Text("."), Flags(2, "MNT_DETACH")))) == (
        'umount2(".", MNT_DETACH)'
    )
    assert show_call(
        Call("execve", (Text("/bin/sh"), Vector(("sh", "-c")), Data(b"12345678")))
    ) == ('execve("/bin/sh", ["sh", "-c"], {8 bytes})')


def test_operations_of_an_actor_keep_their_order_and_index() -> None:
    first = operation(Actor.PARENT, Phase.PREPARE, "state directory")
    second = operation(Actor.CHILD, Phase.SETUP, "mount proc")
    third = operation(Actor.PARENT, Phase.ATTACH, "attach")
    plan = Plan(id="k1", bundle="/b", rootfs="/b/rootfs", operations=(first, second, third))
    assert plan.of(Actor.PARENT) == ((0, first), (2, third))
    assert plan.of(Actor.PARENT, Phase.ATTACH) == ((2, third),)
    assert plan.of(Actor.CHILD, Phase.EXEC) == ()


def test_an_operation_as_json_holds_only_text() -> None:
    document = operation_json(operation(Actor.CHILD, Phase.PIVOT, "new root"))
    assert document["actor"] == "child"
    assert document["phase"] == "pivot"
    assert document["calls"] == []
