"""A Kafka broker here: ``python -m infra.kafka.kafka_server fetch|start|stop|status``."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from infra.processes import BUILD, HOST, Process, ServerError, maven, serve
from schemas.strict import write_private

HERE = Path(__file__).resolve().parent

LIB = BUILD / "kafka" / "lib"
_RUNTIME = "-DincludeScope=runtime"
_SCRAM = "SCRAM-SHA-512"
_CLUSTER = "4L6g3nShT-eMCtK--X86sw"  # any 16 bytes in url-safe base64


def fetch() -> None:
    """Fetch the broker's jars (45 of them, 45 MB) where they are missing."""
    maven(HERE / "pom.xml", BUILD / "kafka", LIB, "dependency:copy-dependencies", _RUNTIME)


@dataclass(slots=True)
class Broker:
    """One broker and controller with its data in ``folder``, on loopback only.

    With ``pem``, a file of key and certificate, clients come by TLS, and with ``users``, name →
    password, by SCRAM-SHA-512; the first of them is the broker's own, and may do all. The others
    may do what no access list forbids them; where it is ``closed``, only what one allows them.
    """

    folder: Path
    port: int = 9092
    controller_port: int = 9093
    pem: Path | None = None
    users: dict[str, str] = field(default_factory=dict)
    heap: str = "512m"
    closed: bool = False

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def process(self) -> Process:
        command = [*self._java(), "kafka.Kafka", str(self._properties)]
        return Process("broker", self.folder, command, self.port)

    @property
    def processes(self) -> list[Process]:
        return [self.process]

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def start(self) -> None:
        """Fetch, format and start what is missing; settings are written anew at each start."""
        fetch()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_private(self._properties, self._settings().encode())
        if not (self.folder / "data" / "meta.properties").exists():
            self._format()
        self.process.start()

    def _settings(self) -> str:
        client, own = f"{HOST}:{self.port}", f"{HOST}:{self.controller_port}"
        settings = {
            "controller.quorum.voters": f"1@{own}",
            "listeners": f"CLIENT://{client},CONTROLLER://{own}",
            "advertised.listeners": f"CLIENT://{client}",
            "inter.broker.listener.name": "CLIENT",
            "listener.security.protocol.map": f"CLIENT:{self._protocol},CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
            **self._security(),
        }
        lines = [f"{name}={value}" for name, value in settings.items()]
        return (HERE / "server.properties").read_text() + "\n".join(lines) + "\n"

    @property
    def _protocol(self) -> str:
        return ("SASL_" if self.users else "") + ("SSL" if self.pem else "PLAINTEXT")

    def _security(self) -> dict[str, str]:
        settings = {}
        if self.pem:
            for store in ("keystore", "truststore"):
                settings[f"ssl.{store}.type"] = "PEM"
                settings[f"ssl.{store}.location"] = str(self.pem)
        if self.users:
            name, password = next(iter(self.users.items()))
            module = "org.apache.kafka.common.security.scram.ScramLoginModule"
            login = f'{module} required username="{name}" password="{password}";'
            settings |= {
                "sasl.enabled.mechanisms": _SCRAM,
                "sasl.mechanism.inter.broker.protocol": _SCRAM,
                f"listener.name.client.{_SCRAM.lower()}.sasl.jaas.config": login,
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": f"User:{name};User:ANONYMOUS",  # its controller's wire has no users
                "allow.everyone.if.no.acl.found": "false" if self.closed else "true",
            }
        return settings

    def _format(self) -> None:
        command = [*self._java(), "kafka.tools.StorageTool", "format", "--ignore-formatted"]
        command += ["-t", _CLUSTER, "-c", str(self._properties)]
        for name, password in self.users.items():
            command += ["--add-scram", f"{_SCRAM}=[name={name},password={password}]"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            message = f"the broker's folder could not be formatted:\n{done.stdout[-3000:]}"
            raise ServerError(message)

    def _java(self) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={HERE / 'log4j2.yaml'}"
        return ["java", f"-Xmx{self.heap}", "-Xms128m", "-Djava.awt.headless=true", logging,
                "-cp", f"{LIB}/*"]  # fmt: skip


if __name__ == "__main__":
    sys.exit(
        serve(
            __doc__,
            fetch,
            lambda folder, port: Broker(folder, port, port + 1),
            BUILD / "kafka-broker",
            9092,
        )
    )
