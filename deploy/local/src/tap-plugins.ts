import { execFile } from 'node:child_process'
import { existsSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { root } from './root.ts'
import { step } from './say.ts'

/** tap's command line program, to run with node. */
export const tapProgram = join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs')

const buildWithinMs = 300_000

/**
 * Compiles the plugin set of `.taprc` into the installed tap if that was not done yet. tap does it by itself too, but the run that does still
 * uses the old set, and that cannot load beside TypeScript 7. The stamp lies in the installed files, so that a new installation has none.
 */
export const buildTapPlugins = async (): Promise<void> => {
  const stamp = join(dirname(realpathSync(join(root, 'node_modules', 'tap'))), '@tapjs', 'test', 'built-for')
  const wanted = readFileSync(join(root, '.taprc'), 'utf8')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  await step('building the plugins of tap', () =>
    promisify(execFile)(process.execPath, [tapProgram, 'build'], { cwd: root, timeout: buildWithinMs })
  )
  writeFileSync(stamp, wanted)
}
