// Whether dashboards are of the types that Grafana has published for them.

import { join, resolve } from "node:path";
import ts from "typescript";

/** Enumerations are texts in JSON, which TypeScript does not take for one another. */
const TYPES = `
import type { Dashboard, GraphFieldConfig, Panel, VizLegendOptions, VizTooltipOptions } from "@grafana/schema";
type Plain<T> = T extends string ? \`\${T}\` : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Fields<C> = Omit<Plain<NonNullable<Panel["fieldConfig"]>>, "defaults"> & { defaults: Omit<Plain<NonNullable<Panel["fieldConfig"]>["defaults"]>, "custom"> & { custom?: C } };
type Of<T, F, O> = Omit<Plain<Panel>, "type" | "fieldConfig" | "options"> & { type: T; fieldConfig: F; options: O };
type TimeSeries = Of<"timeseries", Fields<Plain<GraphFieldConfig>>, Plain<{ legend: VizLegendOptions; tooltip: VizTooltipOptions }>>;
type Stat = Of<"stat", Fields<undefined>, Record<string, unknown>>;
type Row = Plain<Extract<NonNullable<Dashboard["panels"]>[number], { collapsed: boolean }>>;
type Board = Omit<Plain<Dashboard>, "panels"> & { panels: (TimeSeries | Stat | Row)[] };
`;

/** What is wrong with them, as texts; `boards` are the texts of their files by name. */
export function wrongIn(boards) {
  const name = join(import.meta.dirname, "boards.ts");
  const text = TYPES + Object.entries(boards).map(([board, json]) => `export const ${board}: Board = ${json};\n`).join("");
  const options = {
    noEmit: true, strict: true, skipLibCheck: true, types: [],
    module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, target: ts.ScriptTarget.ES2022,
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.getSourceFile = (file, ...rest) => (resolve(file) === name ? ts.createSourceFile(file, text, options.target) : getSourceFile(file, ...rest));
  host.fileExists = (file) => resolve(file) === name || fileExists(file);
  const program = ts.createProgram([name], options, host);
  return ts.getPreEmitDiagnostics(program).map((one) => {
    const line = one.file?.text.split("\n")[ts.getLineAndCharacterOfPosition(one.file, one.start).line].trim();
    return `${ts.flattenDiagnosticMessageText(one.messageText, " ")} (at ${line})`;
  });
}
