# A packaged pipeline as a service. The two commands, run where this file is, after the package step
# of the project (`python -m spacy project run package`) has written the folder of wheels:
#
#     docker build -t pipeline --build-arg WHEELS=project/packages/wheels --build-arg PIPELINE=en_birnn_sample .
#     docker run --rm -p 127.0.0.1:8000:8000 --stop-timeout 40 pipeline
#
# WHEELS is a folder inside this one with the wheels of the pipeline and of spacy-birnn, and PIPELINE
# the name of the package. The service then is at http://127.0.0.1:8000. Further options of
# `spacy-birnn serve` go at the end of the second command.
FROM python:3.11-slim
ARG WHEELS=project/packages/wheels
ARG PIPELINE=en_birnn_sample

COPY constraints.txt /tmp/
COPY ${WHEELS} /tmp/wheels
# These two from the folder only: who knows what has their names in a public index. Then what they need
RUN pip install --no-cache-dir --no-deps --no-index --find-links /tmp/wheels spacy-birnn "${PIPELINE}" && \
    pip install --no-cache-dir -c /tmp/constraints.txt "spacy-birnn[serve]" "${PIPELINE}"

RUN useradd --system --no-create-home service
USER service
ENV PIPELINE=${PIPELINE} PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# The shell gives way to the service, which so gets the signal to stop
ENTRYPOINT ["sh", "-c", "exec spacy-birnn serve \"$PIPELINE\" --host 0.0.0.0 \"$@\"", "serve"]
