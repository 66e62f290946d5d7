"""What of an environment is kept with a job: enough to run it again, and no secret."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.environment import (
    Keep,
    is_secret,
    kept_of,
    parse_environment,
    render_environment,
)

#: Made up, in the forms that real ones have; in parts, so that no scanner takes them for real.
HEX, MIXED = "3f9a0c71b8de4425" * 4, "Zk3vQ9xL0bT7rY2mW8pN5sD1" * 2
JWT = "ey" + "JhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NSJ9." + "SflKxwRJSMeKKF2QT4"

SECRET_NAMES = [
    *("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "GITHUB_TOKEN"),
    *("GH_TOKEN", "GITLAB_TOKEN", "CI_JOB_TOKEN", "CI_JOB_JWT", "HF_TOKEN", "OPENAI_API_KEY"),
    *("HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "ANTHROPIC_API_KEY", "WANDB_API_KEY"),
    *("COMET_API_KEY", "NEPTUNE_API_TOKEN", "KAGGLE_KEY", "SLACK_BOT_TOKEN", "SLACK_WEBHOOK_URL"),
    *("DATABASE_PASSWORD", "PGPASSWORD", "PGPASSFILE", "MYSQL_PWD", "REDIS_PASS", "SMTP_PASSWD"),
    *("DB_PASS", "DBPASS", "SENTRY_DSN", "AZURE_CLIENT_SECRET", "AZURE_STORAGE_KEY", "ZENODO_PAT"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "DOCKER_AUTH_CONFIG", "NPM_TOKEN", "TWINE_PASSWORD"),
    *("SLURM_JWT", "SLURM_SPANK_TOKEN", "SLURM_API_KEY", "SBATCH_PASSWORD", "SLURMRESTD_SECURITY"),
    *("APPTAINER_DOCKER_PASSWORD", "SINGULARITY_DOCKER_PASSWORD", "SINGULARITYENV_API_TOKEN"),
    *("APPTAINERENV_AWS_SECRET_ACCESS_KEY", "CONDA_AUTH", "CONDA_TOKEN", "SPACK_SIGNING_KEY"),
    *("SPACK_MIRROR_S3_CREDENTIALS", "UV_PUBLISH_TOKEN", "UV_INDEX_PRIVATE_PASSWORD", "TF_VAR_key"),
    *("TF_VAR_dbPassword", "JULIA_PKG_SERVER_AUTH", "OMP_SECRET", "CUDA_LICENSE_KEY", "LC_TOKEN"),
    *("LC_SSH_KEY", "LC_PASSPHRASE", "SSH_AUTH_SOCK", "KRB5CCNAME", "SESSION_COOKIE", "XAUTHORITY"),
    *("VAULT_TOKEN", "ANSIBLE_VAULT_PASSWORD_FILE", "RESTIC_PASSWORD", "BORG_PASSPHRASE"),
    *("SUDO_PASSWORD", "JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN", "DATALAD_CREDENTIAL_GIN_TOKEN"),
    *("XNAT_PASS", "REDCAP_API_KEY", "GIN_ACCESS_KEY", "SLURM_JOB_USER", "SLURM_JOB_ACCOUNT"),
]
SECRET_VALUES = [
    "https://me:hunter2@example.org/simple",
    "postgres://analyst:s3cr3t@db.example.org:5432/x",
    "redis://:pw@cache:6379/0",
    f"https://{'g' + 'hp_' + MIXED[:36]}@example.org/lab/data.git",
    "AK" + "IAIOSFODNN7EXAMPLE",
    "AS" + "IAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
    *(f"{kind}_{MIXED[:36]}" for kind in ("gh" + "p", "gh" + "o", "gh" + "s", "github" + "_pat")),
    *("gl" + kind + MIXED[:20] for kind in ("pat-", "dt-", "cbt-", "rt-")),
    *("xo" + kind + "123456789012-abcdefGHIJ" for kind in ("xb-", "xp-", "xa-", "xs-")),
    "https://hooks.slack.com/" + "services/T000/B000/XXXX",
    "h" + "f_" + MIXED[:34],
    "s" + "k-" + MIXED,
    "s" + "k-ant-api03-" + MIXED,
    "s" + "k_live_" + MIXED[:24],
    "AI" + "zaSyA" + MIXED[:34],
    "ya" + "29." + MIXED,
    "npm" + "_" + MIXED[:36],
    "pypi" + "-AgEIcHlwaS5vcmc" + MIXED,
    "dckr" + "_pat_" + MIXED[:27],
    "SG" + "." + MIXED[:22] + "." + MIXED[:43],
    "1234567890" + ":AA" + MIXED[:33],
    "AGE" + "-SECRET-KEY-1QQQ",
    "hv" + "s." + MIXED[:24],
    JWT,
    f"Bearer {MIXED}",
    f"Authorization: Basic {MIXED}==",
    "-----BEGIN OPENSSH" + " PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n",
    "-----BEGIN RSA" + " PRIVATE KEY-----",
    "host=db user=me password=hunter2",
    "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=abc==",
    "https://store.example.org/f?sv=2020&sig=abc%3D",
    "https://example.org/data?token=abc123",
    "https://example.org/data?api_key=abc123",
    '{"auths": {"r": {"password": "x"}}}',
    '{"access_token": "x"}',
    "sessionid=1; auth=xyz",
    "/usr/bin:/opt/x?password=abc",
    HEX,
    HEX[:32],
    HEX[:40],
    MIXED,
    MIXED[:22],
]
HARMLESS = {
    "PATH": "/home/ada/.local/bin:/sw/spack/opt/linux-rhel8-zen2/gcc-12.2.0/"
    "hdf5-1.14.0-k3nq5w2xj7h4t6y2zqd5v4a6b7c8d9e0/bin:/usr/bin",
    "LD_LIBRARY_PATH": "/sw/cuda/12.1/lib64:/opt/slurm/lib",
    "LD_PRELOAD": "/usr/lib64/libtcmalloc.so.4",
    "LOADEDMODULES": "gcc/12.2.0:openmpi/4.1.5-GCC-12.2.0:Python/3.11.3-GCCcore-12.3.0",
    "_LMFILES_": "/sw/modules/gcc/12.2.0.lua:/sw/modules/openmpi/4.1.5.lua",
    "MODULEPATH": "/sw/modules/all:/usr/share/modulefiles",
    "MODULESHOME": "/usr/share/lmod/lmod",
    "MODULES_CMD": "/usr/lib/x86_64-linux-gnu/modulecmd.tcl",
    "LMOD_VERSION": "8.7.32",
    "LMOD_DIR": "/usr/share/lmod/lmod/libexec",
    "LMOD_SYSTEM_DEFAULT_MODULES": "StdEnv",
    "EBROOTGCC": "/sw/GCC/12.3.0",
    "EBVERSIONGCC": "12.3.0",
    "SPACK_ROOT": "/sw/spack",
    "SPACK_ENV": "/home/ada/env",
    "SPACK_PYTHON": "/usr/bin/python3",
    "CONDA_PREFIX": "/home/ada/miniforge3/envs/analysis",
    "CONDA_DEFAULT_ENV": "analysis",
    "CONDA_EXE": "/home/ada/miniforge3/bin/conda",
    "CONDA_SHLVL": "2",
    "CONDA_PROMPT_MODIFIER": "(analysis) ",
    "VIRTUAL_ENV": "/home/ada/venv",
    "PYTHONPATH": "/home/ada/lib",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "8",
    "OMP_PLACES": "{0}:8:1",
    "OMP_PROC_BIND": "close",
    "KMP_AFFINITY": "granularity=fine,compact,1,0",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
    "CUDA_HOME": "/sw/cuda/12.1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "NCCL_SOCKET_IFNAME": "ib0",
    "I_MPI_PIN": "1",
    "I_MPI_PIN_DOMAIN": "omp:compact",
    "OMPI_MCA_btl": "^openib",
    "UCX_TLS": "rc,sm,self",
    "HIP_VISIBLE_DEVICES": "0,1",
    "LANG": "de_DE.UTF-8",
    "LC_ALL": "C.UTF-8",
    "LC_CTYPE": "en_US.UTF-8",
    "TZ": "Europe/Berlin",
    "SLURM_CONF": "/etc/slurm/slurm.conf",
    "SLURM_CLUSTERS": "juwels",
    "SLURM_CPU_BIND_LIST": "0x0000000000000000000000000000000000FF00FF",
    "SLURM_CPU_BIND": "quiet,mask_cpu:0x0000000F",
    "SLURM_JOB_ID": "10524535",
    "SLURM_JOB_NAME": "fmriprep-subject-01-session-02",
    "SLURM_JOB_NODELIST": "jwb[0001-0128,0140]",
    "SLURM_TASKS_PER_NODE": "4(x128)",
    "SLURM_JOB_PARTITION": "develbooster",
    "SLURM_SUBMIT_DIR": "/p/project1/lab/ds",
    "SLURM_TIME_FORMAT": "standard",
    "SLURM_LICENSES": "matlab:1",
    "SBATCH_PARTITION": "batch",
    "SBATCH_TIMELIMIT": "2-00:00:00",
    "SBATCH_EXPORT": "ALL",
    "SBATCH_ARRAY_INX": "1-100%5",
    "SQUEUE_FORMAT": None,
    "HOME": None,
    "USER": None,
    "SSH_CONNECTION": None,
    "http_proxy": None,
    "BASH_FUNC_module%%": None,
    "HISTFILE": None,
    "_ModuleTable001_": None,
    "MY_OWN": None,
}


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_name_of_a_secret_is_never_kept(name):
    assert kept_of({name: "1"}, Keep.FILTERED) == {}


@pytest.mark.parametrize("value", SECRET_VALUES)
def test_a_value_that_looks_like_a_secret_is_never_kept(value):
    for name in ("SLURM_X", "PATH", "OMP_X", "LC_X", "CONDA_X", "SBATCH_COMMENT"):
        assert is_secret(name, value)
        assert kept_of({name: value}, Keep.FILTERED) == {}


@pytest.mark.parametrize(("name", "value"), HARMLESS.items(), ids=HARMLESS)
def test_what_reproduces_a_job_is_kept_and_nothing_else(name, value):
    expected = {} if value is None else {name: value}
    assert kept_of({name: value or "x"}, Keep.FILTERED) == expected


def test_nothing_and_all_can_be_kept():
    environment = {"MY_TOKEN": "x", "PATH": "/bin", "_": "/bin/env", "BASH_FUNC_x%%": "() {\n}"}
    assert kept_of(environment, Keep.NONE) == {}
    assert kept_of(environment, Keep.FULL) == {"MY_TOKEN": "x", "PATH": "/bin"}


VALUES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=60)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)


@given(st.sampled_from(["SLURM_X", "PATH", "LC_Y"]), VALUES, st.sampled_from(SECRET_VALUES), VALUES)
def test_a_secret_is_found_between_other_words(name, before, secret, after):
    is_bare = secret.isalnum() or secret.startswith("wJ")  # known only by standing alone
    value = secret if is_bare else f"{before} {secret} {after}"
    assert kept_of({name: value}, Keep.FILTERED) == {}


WORDS = ["TOKEN", "PASSWORD", "SECRET", "KEY", "CREDENTIALS", "COOKIE", "API_KEY", "PASS", "JWT"]


@given(
    st.sampled_from(["SLURM_", "SBATCH_", "OMP_", "LC_", "CUDA_"]), NAMES, st.sampled_from(WORDS)
)
def test_a_word_for_a_secret_is_found_in_a_name(prefix, name, word):
    for spelled in (f"{prefix}{name}_{word}", f"{prefix}{word}_{name}", f"{prefix}{name}_{word}2"):
        assert kept_of({spelled: "1"}, Keep.FILTERED) == {}
        assert kept_of({spelled.lower(): "1"}, Keep.FILTERED) == {}


@given(st.dictionaries(NAMES | st.sampled_from([*HARMLESS]), VALUES))
def test_what_is_kept_is_as_it_was_and_kept_again(environment):
    kept = kept_of(environment, Keep.FILTERED)
    assert kept.items() <= environment.items()
    assert kept_of(kept, Keep.FILTERED) == kept


@given(st.dictionaries(NAMES, VALUES))
def test_a_listing_is_read_as_it_was_written(environment):
    listed = b"".join(os.fsencode(f"{name}={value}\0") for name, value in environment.items())
    assert parse_environment(listed) == environment
    lines = shlex.split(os.fsdecode(render_environment(environment)))
    assert lines == [f"{name}={value}" for name, value in sorted(environment.items())]


def test_a_shell_reads_what_is_written():
    values = {"A": "it's\n$HOME `x`", "B": "\udcff", "C": ""}
    script = render_environment(values) + b'printf "%s|" "$A" "$B" "$C"'
    assert subprocess.check_output(["sh", "-c", script]) == b"it's\n$HOME `x`|\xff||"
