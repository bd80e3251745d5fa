# One image for every service; FUNCTION_TARGET picks which (webhook, download, transcribe, analyze, crm_sync,
# dead_letter, operator). Nothing of the development requirements goes in.
FROM python:3.11-slim AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements.txt requirements-setup.txt ./
RUN python -m venv /opt/venv && \
    /opt/venv/bin/pip install --require-hashes -r requirements-setup.txt && \
    /opt/venv/bin/pip install --require-hashes -r requirements.txt

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/srv/pipeline \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FUNCTION_SOURCE=/srv/pipeline/handlers/main.py \
    FUNCTION_SIGNATURE_TYPE=http \
    PORT=8080
WORKDIR /srv/pipeline
COPY --from=packages /opt/venv /opt/venv
COPY handlers handlers
COPY stages stages
COPY shared shared
COPY schemas schemas
COPY sql sql
COPY infra/__init__.py infra/pipeline.json infra/
RUN useradd --system --no-create-home pipeline
USER pipeline
# exec: gunicorn is PID 1 and gets Cloud Run's SIGTERM itself.
CMD ["gunicorn", "--config", "handlers/gunicorn_conf.py", "functions_framework:create_app()"]
