"""What an image says of its containers when it is made of one.

Source: moby, daemon/commit.go, merge.
"""

from collections.abc import Iterable

from vic.exec.v1.container_pb2 import ContainerSpec, HealthCheck
from vic.storage.v1.image_pb2 import ImageConfig, ImageHealthCheck

from gateway.fields import Fields
from gateway.translate.create import read_exposed_ports, read_health_check
from gateway.translate.mounts import read_declared

# Of a container alone: no image has a say in them.
_NOT_OF_IMAGES = (
    *("Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty"),
    *("OpenStdin", "StdinOnce", "Image", "NetworkDisabled", "MacAddress", "StopTimeout"),
    "ArgsEscaped",
)


def read_config(body: object, spec: ContainerSpec) -> ImageConfig:
    """Return what the request's body says, completed from the container.

    Raises 400 for what can't be right.
    """
    fields = Fields(body)
    entrypoint, command = fields.optional_texts("Entrypoint"), fields.optional_texts("Cmd")
    if not entrypoint:
        command = list(spec.command) if command is None else command
        entrypoint = list(spec.entrypoint) if entrypoint is None else entrypoint
    check = read_health_check(fields.child("Healthcheck"))
    config = ImageConfig(
        env=_environment(fields.texts("Env"), spec.process.env),
        entrypoint=entrypoint,
        command=command,
        user=fields.text("User") or spec.process.user,
        working_directory=fields.text("WorkingDir") or spec.process.cwd,
        exposed_ports=sorted(
            {*read_exposed_ports(fields.mapping("ExposedPorts")), *spec.exposed_ports}
        ),
        labels={**spec.labels, **fields.text_mapping("Labels")},
        stop_signal=fields.text("StopSignal") or spec.stop_signal,
        volumes=sorted({*read_declared(fields.mapping("Volumes")), *spec.volumes}),
        health_check=_health_check(check, spec),
        shell=fields.texts("Shell"),
        on_build=fields.texts("OnBuild"),
    )
    fields.drop(*_NOT_OF_IMAGES)
    fields.finish()
    return config


def _environment(asked: Iterable[str], of_container: Iterable[str]) -> list[str]:
    names = {variable.partition("=")[0] for variable in asked}
    kept = [v for v in of_container if v.partition("=")[0] not in names]
    return [*asked, *kept]


def _health_check(asked: HealthCheck | None, spec: ContainerSpec) -> ImageHealthCheck | None:
    """Field by field, as at a container's creation."""
    whole = HealthCheck()
    whole.CopyFrom(spec.health_check)
    del whole.shell[:]
    if asked is not None:
        if asked.test:
            whole.test[:] = asked.test
        for span in ("interval", "timeout", "start_period", "start_interval"):
            if asked.HasField(span):
                getattr(whole, span).CopyFrom(getattr(asked, span))
        whole.retries = asked.retries or whole.retries
    if not whole.test:
        return None
    return ImageHealthCheck(
        test=whole.test,
        interval=whole.interval,
        timeout=whole.timeout,
        start_period=whole.start_period,
        start_interval=whole.start_interval,
        retries=whole.retries,
    )
