"""What the quality rules keep of good Chinese text, and what they drop of poor one.

    python benchmarks/corpus_quality_zh.py [--data ../shared/data] [--show 0] [--no-record]

Good: Wikipedia's articles, chapters of novels, classical poems. Poor: what stands around the text
of news pages (every line without a full stop), and what is made here with a fixed seed: link
farms, keywords in a row, repeated slogans, tables of numbers. Prints the share that is kept of
each with the reasons, and appends to results/corpus_quality_zh.jsonl.
"""

import argparse
import gzip
import json
import random
import re
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from records import record

from xunlian.corpus.stages.quality import judge
from xunlian.recipe.corpus_quality import Quality

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
POEMS = ("quantangshi_0-39999", "songci_0-17999", "classics")
LINKS = (
    "首页 新闻 国内 国际 体育 娱乐 财经 科技 汽车 房产 教育 健康 旅游 登录 注册 下载客户端 "
    "关于我们 联系我们 网站地图 更多 上一篇 下一篇 返回顶部 收藏本站 友情链接 广告服务 "
    "热门推荐 相关阅读 分享到 微博 微信"
)
GOODS = (
    "手机 电脑 充电器 数据线 耳机 键盘 鼠标 显示器 正品 包邮 特价 批发 代理 厂家直销 "
    "官方旗舰店 优惠券 秒杀 促销 苹果 华为 小米 三星 新款 热卖 女装 男装 童装 连衣裙 "
    "运动鞋 化妆品"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--show", type=int, default=0, help="wrong verdicts to print of each kind")
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    row: dict[str, object] = {}
    size, seconds = 0, 0.0
    kinds = [*good_texts(options.data), *poor_texts(options.data)]
    judge(kinds[0][1][:5], Quality())
    for kind, texts in kinds:
        start = time.process_time()
        reasons = judge(texts, Quality()).reasons
        seconds += time.process_time() - start
        size += sum(len(text.encode()) for text in texts)
        why = Counter(reason for reason in reasons if reason)
        kept = reasons.count(None) / len(texts)
        row[kind] = {"documents": len(texts), "kept": round(kept, 4), "dropped": dict(why)}
        print(f"{kind}: kept {kept:.1%} of {len(texts)}; dropped {dict(why.most_common())}")
        poor = kind.startswith("poor")
        pairs = zip(texts, reasons, strict=True)
        wrong = [pair for pair in pairs if (pair[1] is None) == poor][: options.show]
        for text, reason in wrong:
            print(f"--- {reason or 'kept'}\n{text[:400]}")
    row["mb_per_s"] = round(size / seconds / 1e6, 2)
    print(f"{row['mb_per_s']} MB/s")
    if not options.no_record:
        record("corpus_quality_zh", row)


def good_texts(data: Path) -> Iterator[tuple[str, list[str]]]:
    articles = []
    for path in sorted((data / "lm_zh" / "zhwiki2023").glob("*.gz"))[1::4]:
        parts = gzip.decompress(path.read_bytes()).decode().split("</doc>")
        found = [part.split(">\n", 1)[1].strip() for part in parts if ">\n" in part]
        articles += [text for text in found if len(text) > 200][:300]
    yield "good: Wikipedia", articles
    chapters = []
    for path in sorted((data / "lm_zh" / "novels").glob("*.gz")):
        text = gzip.decompress(path.read_bytes()).decode()
        parts = re.split(r"\n(?=\s*第[一二三四五六七八九十百零〇]{1,6}回)", text)
        chapters += [part.strip() for part in parts if len(part) > 500]
    yield "good: chapters of novels", chapters
    poems = [poem for name in POEMS for poem in read_poems(data, name)]
    yield "good: poems of 120 characters and more", [poem for poem in poems if len(poem) >= 120]


def read_poems(data: Path, name: str) -> Iterator[str]:
    with tarfile.open(data / "lm_zh" / "chinese-poetry" / f"{name}.tar.gz") as archive:
        for member in archive.getmembers()[:10]:
            file = archive.extractfile(member)
            found = json.load(file) if file and member.name.endswith(".json") else []
            for poem in found[::5] if isinstance(found, list) else []:
                lines = poem.get("paragraphs") or poem.get("content")
                if isinstance(lines, list) and all(isinstance(line, str) for line in lines):
                    title = poem.get("title") or poem.get("rhythmic") or ""
                    yield "\n".join([title, *lines]).strip()


def poor_texts(data: Path) -> Iterator[tuple[str, list[str]]]:
    from resiliparse.extract.html2text import extract_plain_text

    around = []
    for path in sorted((data / "html" / "gne-zh").rglob("*.html.gz")):
        raw = gzip.decompress(path.read_bytes())
        try:
            page = raw.decode()
        except UnicodeDecodeError:
            page = raw.decode("gb18030", "replace")
        lines = extract_plain_text(page, main_content=False).split("\n")
        bare = [line for line in lines if line.strip() and not re.search("[。！？；]", line)]
        for start in range(0, len(bare) - 20, 60):
            around.append("\n".join(bare[start : start + 60]))
    yield "poor: around the text of news pages", around
    source = random.Random(1)
    links, goods = LINKS.split(), GOODS.split()
    made: dict[str, list[str]] = {"link farms": [], "keywords": [], "slogans": [], "numbers": []}
    for _ in range(100):
        many = source.randrange(60, 300)
        made["link farms"].append("\n".join(source.choices(links, k=many)))
        made["keywords"].append(" ".join(source.choices(goods, k=many)))
        slogan = "".join(source.choices(goods, k=4)) + "！"
        made["slogans"].append(slogan * source.randrange(8, 40))
        table = (f"{source.random():.3f} {source.randrange(9999)} 元" for _ in range(many))
        made["numbers"].append("\n".join(table))
    for kind, texts in made.items():
        yield f"poor: {kind}", texts


if __name__ == "__main__":
    main()
