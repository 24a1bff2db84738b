"""TLS doors: curl trusts the certificate, and a new one is served without a restart."""

import signal
import ssl

import archive
from process import wait_for


def run(stage):
    folder = stage.folder / "tls"
    folder.mkdir()
    make(stage, folder, "one")
    gateway = stage.gateway(extra=f'[tls]\ncertificate = "{folder / "served.pem"}"\nkey = "{folder / "served.key"}"\n')
    serves(stage, gateway, folder, "one", "the first certificate")
    make(stage, folder, "two")
    gateway.process.send(signal.SIGHUP)
    wait_for("the certificate after SIGHUP", lambda: served(gateway) == leaf(folder, "two"))
    serves(stage, gateway, folder, "two", "after SIGHUP")
    (folder / "served.key").write_text("no key at all\n")
    (folder / "served.pem").write_text("no certificate at all\n")
    gateway.process.send(signal.SIGHUP)
    wait_for(
        "the refusal of a bad pair is logged",
        lambda: "ERROR" in gateway.process.stderr.read_text() + gateway.process.stdout.read_text(),
    )
    serves(stage, gateway, folder, "two", "after a bad pair")
    make(stage, folder, "three")
    try:
        wait_for("the changed files are noticed", lambda: served(gateway) == leaf(folder, "three"), 60)
    except TimeoutError as error:
        stage.check("changed files are served without a signal", False, error)
        gateway.process.send(signal.SIGHUP)
        wait_for("the certificate after SIGHUP", lambda: served(gateway) == leaf(folder, "three"))
    serves(stage, gateway, folder, "three", "after the files changed")
    refused = post(stage, gateway, folder, "one", "--http1.1")
    stage.check("curl refuses another authority's certificate", refused == "000 60", refused)
    sent = 8
    archived = len(archive.bulk(gateway.data, 1, "n"))
    stage.check("curl over TLS", archived == sent, f"sent {sent}, archived {archived}")


def serves(stage, gateway, folder, name, when):
    """A post over HTTP/1.1 and one over HTTP/2 by ALPN."""
    seen = [post(stage, gateway, folder, name, version) for version in ("--http1.1", "--http2")]
    stage.check(f"curl over TLS {when}", seen == ["200 0 1.1", "200 0 2"], seen)


def post(stage, gateway, folder, name, version):
    done = stage.command(
        "curl", "--silent", "--max-time", "10", version, "--cacert", folder / f"{name}-ca.pem",
        "--header", f"Authorization: Bearer {gateway.token('logs')}", "--data-binary", '{"message":"hello","n":1}',
        "--output", "/dev/null", "--write-out", "%{http_code} %{exitcode} %{http_version}",
        gateway.url("bulk_tls", "/"),
    )  # fmt: skip
    return done.stdout.removesuffix(" 0") if done.returncode else done.stdout


def make(stage, folder, name):
    """An authority and a leaf of its own, put where the gateway reads them: key first, each replaced as a whole."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
    openssl(stage, "req", "-x509", *key, *extensions, "-subj", f"/CN=senders {name}",
            "-keyout", folder / f"{name}-ca.key", "-out", folder / f"{name}-ca.pem")  # fmt: skip
    openssl(
        stage,
        "req",
        *key[:-2],
        "-subj",
        "/CN=localhost",
        "-keyout",
        folder / f"{name}.key",
        "-out",
        folder / f"{name}.csr",
    )
    (folder / "leaf.cnf").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    openssl(stage, "x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / f"{name}-ca.pem",
            "-CAkey", folder / f"{name}-ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", folder / "leaf.cnf", "-out", folder / f"{name}.pem")  # fmt: skip
    for kind in ("key", "pem"):
        new = folder / f"new.{kind}"
        new.write_text((folder / f"{name}.{kind}").read_text())
        new.rename(folder / f"served.{kind}")


def openssl(stage, *arguments):
    done = stage.command("openssl", *arguments)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")


def leaf(folder, name):
    return ssl.PEM_cert_to_DER_cert((folder / f"{name}.pem").read_text())


def served(gateway):
    """The certificate that the bulk TLS door shows now."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", gateway.ports["bulk_tls"]), timeout=5))
