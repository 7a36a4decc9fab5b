/** `npm run conformance`: the recordings of a real ComfyUI replayed against the simulator, with the arguments given to us. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from './root.ts'

const program = join(root, 'packages', 'comfyui-simulator', 'dist', 'src', 'conformance', 'main.js')
const { status } = spawnSync(process.execPath, [program, ...process.argv.slice(2)], { stdio: 'inherit' })
process.exitCode = status ?? 1
