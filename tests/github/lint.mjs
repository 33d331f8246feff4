// Reads workflow and action files as GitHub does: node lint.mjs ROOT FILE...
// Prints FILE:LINE:COLUMN: MESSAGE for each finding, and exits 1 if there are any.
//
// What a file refers to is looked up in ROOT, the repository that offers these actions and workflows: `$/PATH` and
// `./PATH`, and, for whoever uses them from elsewhere, `OWNER/runner/PATH@REF`.

import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { validate } from "@actions/languageservice";
import { TextDocument } from "vscode-languageserver-textdocument";
import { parse } from "yaml";

const OURS = "runner";
const [root, ...files] = process.argv.slice(2);

// Files of the repository; any other is one that cannot be read here.
const fileProvider = {
  async getFileContent(reference) {
    if (reference.repository !== undefined && reference.repository !== OURS) {
      throw new Error(`${reference.owner}/${reference.repository} is not here`);
    }
    return { name: reference.path, content: await readFile(join(root, reference.path), "utf8") };
  },
};

// Ours are held to their inputs; of others nothing is known but that they are there.
const actionsMetadataProvider = {
  async fetchActionMetadata({ name, path }) {
    if (name !== OURS) {
      return { name, description: "" };
    }
    try {
      return parse(await readFile(join(root, path, "action.yml"), "utf8"));
    } catch {
      return undefined;
    }
  },
};

// An action is told from a workflow by its name, so that every file is read under the name it would have.
function uri(file) {
  return pathToFileURL(resolve(file)).href;
}

let count = 0;
for (const file of files) {
  const document = TextDocument.create(uri(file), "yaml", 1, await readFile(file, "utf8"));
  const findings = await validate(document, { fileProvider, actionsMetadataProvider });
  for (const { range, message } of findings) {
    console.log(`${file}:${range.start.line + 1}:${range.start.character + 1}: ${message}`);
  }
  count += findings.length;
}
process.exitCode = files.length === 0 || count > 0 ? 1 : 0;
