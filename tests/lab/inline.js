// Brings up a stack of the project in the working directory as an inline program of the Automation
// API, where Pulumi's language host for Node.js can't be had. Arguments: project, stack, program.
const { createRequire } = require("node:module");
const path = require("node:path");

const [projectName, stackName, main] = process.argv.slice(2);
const required = createRequire(path.resolve("package.json"));
const { LocalWorkspace } = required("@pulumi/pulumi/automation");

LocalWorkspace.selectStack(
    { projectName, stackName, program: async () => required(path.resolve(main)) },
    { workDir: process.cwd() },
)
    .then((stack) => stack.up({ onOutput: console.log, onError: console.error }))
    .catch((error) => {
        console.error(error.message);
        process.exitCode = 1;
    });
