"""Which variables of an environment are kept with a job: what reproduces it, and no secret.

Datasets get published, so of two mistakes the one is chosen that leaves out too
much: a variable is kept if its name is known to matter, and nothing about name
or value looks like a secret.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from enum import StrEnum

__all__ = ["Keep", "is_secret", "kept_of", "parse_environment", "render_environment"]


class Keep(StrEnum):
    """How much of the environment is kept: values of ``datalad.slurm.archive-environment``."""

    NONE = "none"
    FILTERED = "filtered"
    FULL = "full"


#: Beginnings of names that are kept.
_PREFIXES = (
    # Slurm, and what it sets for the job's processes
    *("SLURM_", "SBATCH_", "SRUN_", "SALLOC_", "PMI_", "PMIX_"),
    # module systems: Lmod, Environment Modules, EasyBuild, Spack; Conda and its kin
    *("LMOD_", "MODULES_", "__MODULES_", "EASYBUILD_", "EBROOT", "EBVERSION", "EBDEVEL"),
    *("SPACK_", "CONDA_", "MAMBA_", "PIXI_", "UV_", "RYE_"),
    # containers
    *("APPTAINER", "SINGULARITY"),
    # threads and numerical libraries
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "NUMEXPR_", "VECLIB_"),
    *("TBB_", "KOKKOS_", "ACC_"),
    # accelerators
    *("CUDA_", "NVIDIA_", "NCCL_", "CUBLAS_", "CUDNN_", "HIP_", "ROCR_", "ROCM_", "HSA_"),
    *("ZE_", "ONEAPI_", "SYCL_", "GPU_", "XLA_", "TORCH_", "PYTORCH_", "TF_CPP_", "TF_FORCE_"),
    *("TF_NUM_", "TF_ENABLE_", "TF_XLA_"),
    # MPI and networks
    *("OMPI_", "PRTE_", "I_MPI_", "MPICH_", "MV2_", "UCX_", "FI_", "PSM2_", "HWLOC_"),
    # languages
    *("LC_", "JULIA_"),
)
#: Whole names that are kept.
_NAMES = frozenset(
    (
        *("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "LIBRARY_PATH", "CPATH", "PKG_CONFIG_PATH"),
        *("LOADEDMODULES", "_LMFILES_", "MODULEPATH", "MODULEPATH_ROOT", "MODULESHOME"),
        *("MODULEVERSION", "MODULE_VERSION", "MODULERCFILE"),
        *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONHASHSEED", "PYTHONNOUSERSITE"),
        *("PYTHONUSERBASE", "PYTHONUNBUFFERED", "PYTHONOPTIMIZE", "PYTHONWARNINGS"),
        *("PYENV_VERSION", "R_HOME", "R_LIBS", "R_LIBS_USER", "R_LIBS_SITE", "PERL5LIB"),
        *("CLASSPATH", "JAVA_HOME", "MATLABPATH", "OCTAVE_PATH", "GUIX_PROFILE", "NIX_PROFILES"),
        *("LANG", "LANGUAGE", "TZ", "SHELL", "TMPDIR", "SOURCE_DATE_EPOCH", "MPLBACKEND"),
        *("FSLDIR", "FSLOUTPUTTYPE", "FREESURFER_HOME", "SUBJECTS_DIR", "ANTSPATH", "AFNI_HOME"),
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    )
)
#: Who somebody is, and who pays: a record does not tell that of a job either.
_PERSONAL = frozenset({"USER", "USERNAME", "UID", "GID", "GROUP", "ACCOUNT", "EMAIL", "MAIL"})

#: What a name of a secret holds, when everything between its letters is left out.
_SECRET_PARTS = (
    *("TOKEN", "PASSW", "PASSPHRASE", "PASSCODE", "SECRET", "CREDENTIAL", "COOKIE"),
    *("APIKEY", "ACCESSKEY", "PRIVATEKEY", "JWT", "BEARER", "OAUTH", "WEBHOOK", "SIGNATURE"),
)
#: What a word of such a name is, and with what it ends.
_SECRET_WORDS = frozenset(
    {"AUTH", "AUTHORIZATION", "CRED", "CREDS", "PAT", "PW", "DSN", "OTP", "NONCE", "SALT"}
    | {"SESSION", "SESSIONID", "CERT", "PEM", "KEYS", "PRIVATE", "SAS"}
)
_SECRET_ENDS = ("KEY", "PASS", "PWD")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

#: What a secret looks like, wherever it stands in a value: of what, in lower case, there is one
#: in each such value, and a pattern. Few values hold any of the former, so few of the patterns
#: are compiled, which takes longer than all the rest.
_SECRET_FORMS: tuple[tuple[tuple[str, ...], str], ...] = (
    # a URL with a password, or with a token in the place of a user
    (("://",), r"(?i)[a-z][a-z0-9+.-]*://(?:[^\s/?#@]*:[^\s/?#@]+|[^\s/?#@]{16,})@"),
    (("eyj",), r"\beyJ[\w-]{8,}\.[\w-]{4,}"),  # JSON Web Token
    (("-----begin",), r"-----BEGIN [A-Z0-9 ]*(?:PRIVATE KEY|CERTIFICATE)"),
    # AWS, Google
    (("akia", "asia", "abia", "acca"), r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b"),
    (("agpa", "aida", "aroa"), r"\b(?:AGPA|AIDA|AROA)[0-9A-Z]{16}\b"),
    (("aiza",), r"\bAIza[\w-]{30,}"),
    (("ya29.",), r"\bya29\.[\w-]{10,}"),
    # GitHub, GitLab, Slack, Hugging Face
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"\bgh[pousr]_\w{16,}"),
    (("github_pat_",), r"\bgithub_pat_\w{16,}"),
    (("gl",), r"\bgl[a-z]{1,6}-[\w-]{16,}"),
    (("xox", "xapp-"), r"\b(?:xox[a-z]|xapp)-[\w-]{8,}"),
    (("hooks.slack.com/",), r"hooks\.slack\.com/"),
    (("hf_",), r"\bhf_\w{16,}"),
    # OpenAI, Anthropic, Stripe
    (("sk-", "sk_", "pk-", "pk_", "rk-", "rk_"), r"\b[spr]k[-_][\w-]{16,}"),
    # npm, PyPI, Docker, and other sites
    (("npm_", "nfp_", "atatt", "dckr_pat_"), r"\b(?:npm|nfp|ATATT|dckr_pat)_?[\w=-]{24,}"),
    (("dop_v1", "shpat", "lin_api", "pul-", "r8_"), r"\b(?:dop_v1|shpat|lin_api|pul|r8)[\w-]{24,}"),
    (("pypi-",), r"\bpypi-[\w-]{16,}"),
    (("sg.",), r"\bSG\.[\w-]{16,}\.[\w-]{16,}"),
    (("age-secret-key-",), r"(?i)age-secret-key-"),
    (("hvs.", "hvb.", "hvr."), r"\bhv[sbr]\.[\w-]{16,}"),
    ((":aa",), r"\b\d{8,10}:AA[\w-]{33}\b"),
    # Authorization: Bearer ...
    (("bearer", "basic", "digest"), r"(?i)\b(?:bearer|basic|digest)\s+[\w.+/=-]{8,}"),
    # password=..., "token": "...", AccountKey=..., ?sig=...
    (
        (
            *("passw", "passphrase", "pwd", "token", "secret", "credential", "cookie"),
            *("sig", "auth", "key"),
        ),
        r"(?i)(?:passw(?:or)?d|passphrase|\bpwd|token|secret|credentials?|cookie|signature"
        r"|\bsig|\bauth|(?:api|access|account|shared|private)[_ -]?key)[\"']?\s*"
        r"(?:=|[\"']\s*:|:\s+)\s*[\"']?[^\s\"';&]",
    ),
)
#: Characters of which a value without meaning is made, as random ones are.
_OPAQUE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-")


def kept_of(environment: Mapping[str, str], keep: Keep) -> dict[str, str]:
    """Return the variables of an environment that are kept.

    Functions that a shell has exported are no variables, and never kept.
    """
    if keep is Keep.NONE:
        return {}
    named = {
        name: value
        for name, value in environment.items()
        if name.isascii() and name.isidentifier() and name != "_"
    }
    if keep is Keep.FULL:
        return named
    return {
        name: value
        for name, value in named.items()
        if _is_wanted(name) and not is_secret(name, value)
    }


def _is_wanted(name: str) -> bool:
    return name in _NAMES or name.startswith(_PREFIXES)


def is_secret(name: str, value: str) -> bool:
    """Return whether a variable looks like a secret, or tells who somebody is."""
    return _names_secret(name) or _holds_secret(value)


def _names_secret(name: str) -> bool:
    squeezed = "".join(filter(str.isalpha, name)).upper()
    if any(part in squeezed for part in _SECRET_PARTS):
        return True
    words = {word.upper() for word in _WORD.findall(name)}
    if not words.isdisjoint(_SECRET_WORDS | _PERSONAL):
        return True
    return any(word.endswith(_SECRET_ENDS) for word in words)


def _holds_secret(value: str) -> bool:
    lowered = value.lower()
    return _is_opaque(value.strip()) or any(
        re.search(pattern, value)
        for marks, pattern in _SECRET_FORMS
        if any(mark in lowered for mark in marks)
    )


def _is_opaque(value: str) -> bool:
    """Return whether a value is one long word of letters and digits without any order."""
    if len(value) < 20 or value.startswith(("/", "0x")) or not _OPAQUE.issuperset(value):
        return False
    kinds = all(any(map(test, value)) for test in (str.isdigit, str.isupper, str.islower))
    if kinds and not any(each in value.strip("/") for each in "/_-"):
        return True
    longest = max(re.split("[^A-Za-z0-9]", value), key=len)
    if len(longest) < 20:
        return kinds and len(value) >= 32 and ("+" in value or "/" in value)
    digits = sum(map(str.isdigit, longest))
    return digits >= 3 and len(longest) - digits >= 3


def parse_environment(listed: bytes) -> dict[str, str]:
    """Return the variables in what ``env -0`` printed."""
    pairs = (os.fsdecode(entry).partition("=") for entry in listed.split(b"\0") if entry)
    return {name: value for name, equals, value in pairs if equals}


def render_environment(environment: Mapping[str, str]) -> bytes:
    """Return variables as a text that a shell can read, in an order that is always the same."""
    lines = (f"{name}={shlex.quote(value)}\n" for name, value in sorted(environment.items()))
    return os.fsencode("".join(lines))
