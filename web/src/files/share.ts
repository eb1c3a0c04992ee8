// Links to a file: copied for others, or followed at once.
import { type FileDocument, signLink } from '../api';
import { shortTime } from '../format';
import { notify } from '../notices';
import { Problem } from '../problem';
import { Store } from '../store';

const DAY_S = 86_400;
/** Long enough to start what was just clicked, too short to be worth passing on. */
const OPEN_S = 300;

/** A link that could not be put on the clipboard and is shown to be copied by hand. */
export const linkToShow = new Store<string | null>(null);

/** Copies a link that works anywhere; true when it is on the clipboard. */
export async function copyLink(file: FileDocument): Promise<boolean> {
  try {
    const { url, lasts } = await shareable(file);
    if (!(await toClipboard(url))) {
      linkToShow.set(url);
      return false;
    }
    notify(`Link to “${file.name}” copied. ${lasts}`);
    return true;
  } catch (thrown) {
    notify(`No link was made. ${Problem.of(thrown).words()}`, { failed: true });
    return false;
  }
}

/** Types that the server lets a browser show; it sends everything else to be saved. */
const SHOWN = /^(audio\/|video\/|image\/(?!svg)|text\/(plain|css|javascript)|application\/(pdf|javascript))/;

/** Opens the file in a tab of its own, or saves it where a browser would show nothing. */
export async function openFile(file: FileDocument): Promise<void> {
  if (!SHOWN.test(file.type)) return downloadFile(file);
  // The tab is opened in the click itself, else the browser takes it for a pop-up; it must not reach back.
  const tab = window.open('about:blank', '_blank');
  if (tab) tab.opener = null;
  try {
    const { url } = await signLink(file.id, { expiresInS: OPEN_S, download: false });
    if (tab) tab.location.replace(new URL(url, location.href));
    else location.assign(url);
  } catch (thrown) {
    tab?.close();
    notify(`“${file.name}” was not opened. ${Problem.of(thrown).words()}`, { failed: true });
  }
}

export async function downloadFile(file: FileDocument): Promise<void> {
  try {
    const { url } = await signLink(file.id, { expiresInS: OPEN_S, download: true });
    const anchor = document.createElement('a');
    anchor.href = url;
    anchor.download = file.name;
    anchor.click();
  } catch (thrown) {
    notify(`“${file.name}” was not downloaded. ${Problem.of(thrown).words()}`, { failed: true });
  }
}

/** A public file's own address never ends; everything else needs a signature that does. */
async function shareable(file: FileDocument): Promise<{ url: string; lasts: string }> {
  if (file.visibility === 'public') {
    const url = `${file.url}/${encodeURIComponent(file.name)}`;
    return { url: new URL(url, location.href).href, lasts: 'It works for everyone.' };
  }
  const { url, expires } = await signLink(file.id, { expiresInS: DAY_S, download: false });
  return { url: new URL(url, location.href).href, lasts: `It works until ${shortTime(new Date(expires))}.` };
}

async function toClipboard(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
