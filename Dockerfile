# docker build -t lrbench .
# docker run --rm -v "$PWD/results:/study/results" lrbench scheduler=wsd
# With a GPU: docker run --gpus all ...
FROM python:3.12-slim
COPY . /src
RUN pip install --no-cache-dir "/src[schedulers,stats,search]" && rm -r /src
WORKDIR /study
ENTRYPOINT ["lrbench"]
