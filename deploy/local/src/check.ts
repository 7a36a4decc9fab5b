/** `npm run check`: types (checked by the build before), lint and format. */
import { lint } from './lint.ts'

process.exitCode = lint() ? 0 : 1
