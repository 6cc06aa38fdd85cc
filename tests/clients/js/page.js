// The page's side of the tests: an Uppy with @uppy/tus, fed from the page's file picker.

import Uppy from "@uppy/core";
import Tus from "@uppy/tus";

let uppy, ended;

// Uploads what was picked; pauses once so many bytes have been sent.
window.begin = (options, pauseAt = Infinity) => {
  uppy = new Uppy().use(Tus, options);
  for (const file of document.querySelector("input").files) uppy.addFile({ name: file.name, type: file.type, data: file });
  const paused = new Promise((resolve) =>
    uppy.on("upload-progress", (_, { bytesUploaded }) => {
      if (bytesUploaded < pauseAt) return;
      pauseAt = Infinity;
      uppy.pauseAll();
      resolve("paused");
    }),
  );
  ended = uppy.upload().then(({ successful, failed }) => (failed.length ? failed.map((file) => file.error) : successful.length));
  return Promise.race([paused, ended]);
};

window.goOn = () => {
  uppy.resumeAll();
  return ended;
};

// As every page of Jupyter's sends it with the user's cookie.
window.xsrf = () => ({ "X-XSRFToken": /\b_xsrf=([^;]*)/.exec(document.cookie)[1] });
