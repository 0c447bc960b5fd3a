# The workflow with all that it needs. From a clone:
#   docker build --tag ddpm-dip .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD/results:/work/results" ddpm-dip
# More words are Snakemake's: docker run ... ddpm-dip --configfile /ddpm-dip/studies/mnist.yaml
FROM python:3.11-slim

# an index of packages with CPU builds of torch; without it torch is a CUDA build of several GB
ARG TORCH_INDEX=""
WORKDIR /ddpm-dip
COPY requirements.txt ./
RUN if [ -n "$TORCH_INDEX" ]; then \
      pip install --no-cache-dir --index-url "$TORCH_INDEX" $(grep -E '^torch(vision)?==' requirements.txt); \
    fi \
    && pip install --no-cache-dir -r requirements.txt
COPY Snakefile config.yaml ./
COPY profiles ./profiles
COPY studies ./studies
COPY workflow ./workflow
COPY envs ./envs
COPY src ./src

# any user may run it: caches go where every user can write
ENV HOME=/tmp PYTHONDONTWRITEBYTECODE=1
RUN mkdir -p /work/results && chmod -R a+rwX /work
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["snakemake", "--snakefile", "/ddpm-dip/Snakefile", "--cores", "all"]
