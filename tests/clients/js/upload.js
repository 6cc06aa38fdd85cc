// Uploads a file with tus-js-client as a JSON argument says; prints a line of JSON for each answer that came, and one for the end.

import { createReadStream } from "node:fs";
import { PassThrough } from "node:stream";
import { FileUrlStorage, Upload } from "tus-js-client";

const { file, stream, stopAt, addresses, options } = JSON.parse(process.argv[2]);
const print = (value) => console.log(JSON.stringify(value));

// A stream of files has no length that the client can look up.
const source = stream ? createReadStream(file).pipe(new PassThrough()) : createReadStream(file);

let stopped = false;
const upload = new Upload(source, {
  retryDelays: null,
  urlStorage: addresses ? new FileUrlStorage(addresses) : undefined,
  storeFingerprintForResuming: Boolean(addresses),
  ...options,
  onAfterResponse: (request, answer) =>
    print({
      method: request.getMethod(),
      meant: request.getHeader("X-HTTP-Method-Override") ?? null,
      from: Number(request.getHeader("Upload-Offset") ?? 0),
      status: answer.getStatus(),
      offset: Number(answer.getHeader("Upload-Offset") ?? 0),
    }),
  onChunkComplete: (_, accepted) => {
    if (stopAt && accepted >= stopAt && !stopped) {
      stopped = true;
      upload.abort();
      print({ end: "stopped", url: upload.url });
      process.exit(0);
    }
  },
  // Stopped while a request is under way, where there is but one.
  onProgress: (sent) => {
    if (stopAt && sent >= stopAt && options.chunkSize === undefined && !stopped) {
      stopped = true;
      upload.abort();
      print({ end: "stopped", url: upload.url });
      process.exit(0);
    }
  },
  onSuccess: () => print({ end: "success", url: upload.url }),
  onError: (error) => {
    print({ end: "error", message: String(error) });
    process.exitCode = 1;
  },
});

if (addresses) {
  const before = await upload.findPreviousUploads();
  if (before.length) upload.resumeFromPreviousUpload(before[0]);
}
upload.start();
