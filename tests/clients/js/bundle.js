// Prints a script with all that it imports, for a browser.

import { build } from "esbuild";

const [script] = process.argv.slice(2);
const { outputFiles } = await build({ entryPoints: [script], bundle: true, format: "esm", write: false });
process.stdout.write(outputFiles[0].text);
