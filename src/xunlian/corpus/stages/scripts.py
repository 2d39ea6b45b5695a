"""How many letters of each script a text has, for a whole batch at once.

Han characters are split by who writes them: those that only simplified Chinese has (的 is common
to all, 这 is not), only traditional Chinese (這), only Japan (駅), and the rest. The tables hold
the most frequent characters whose conversion by OpenCC changes them and is one to one.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

(
    OTHER,
    LATIN,
    CYRILLIC,
    GREEK,
    ARABIC,
    HEBREW,
    DEVANAGARI,
    HANGUL,
    KANA,
    HAN,
    HAN_SIMPLIFIED,
    HAN_TRADITIONAL,
    HAN_JAPANESE,
    ARMENIAN,
    BENGALI,
    GURMUKHI,
    GUJARATI,
    ORIYA,
    TAMIL,
    TELUGU,
    KANNADA,
    MALAYALAM,
    SINHALA,
    THAI,
    LAO,
    TIBETAN,
    BURMESE,
    GEORGIAN,
    ETHIOPIC,
    KHMER,
) = range(30)
SCRIPTS = 30

_RANGES = {
    LATIN: "AZaz\xaa\xaa\xba\xba\xc0\xd6\xd8\xf6\xf8\u02afḀỿＡＺａｚ",
    CYRILLIC: "\u0400\u052f\u1c80\u1c8f",
    GREEK: "\u0370\u03ff\u1f00\u1fff",
    ARABIC: "\u0620\u065f\u066e\u06d3\u0750\u077f\u08a0\u08ff\ufb50\ufdff\ufe70\ufefc",
    HEBREW: "\u05d0\u05f4",
    DEVANAGARI: "\u0900\u097f",
    HANGUL: "\u1100\u11ff\u3130\u318f\uac00\ud7af",
    KANA: "\u3041\u309f\u30a1\u30fa\u30fc\u30ff\uff66\uff9f",  # the middle dot is used in Chinese
    HAN: "\u3005\u3007\u3400\u4dbf\u4e00\u9fff\uf900\ufaff\U00020000\U0003ffff",
    ARMENIAN: "\u0531\u0587",
    BENGALI: "\u0980\u09ff",
    GURMUKHI: "\u0a00\u0a7f",
    GUJARATI: "\u0a80\u0aff",
    ORIYA: "\u0b00\u0b7f",
    TAMIL: "\u0b80\u0bff",
    TELUGU: "\u0c00\u0c7f",
    KANNADA: "\u0c80\u0cff",
    MALAYALAM: "\u0d00\u0d7f",
    SINHALA: "\u0d80\u0dff",
    THAI: "\u0e01\u0e7f",
    LAO: "\u0e81\u0eff",
    TIBETAN: "\u0f00\u0fff",
    BURMESE: "\u1000\u109f",
    GEORGIAN: "\u10a0\u10ff\u1c90\u1cbf",
    ETHIOPIC: "\u1200\u139f",
    KHMER: "\u1780\u17ff",
}

ONE_LANGUAGE = {
    GREEK: "el",
    HANGUL: "ko",
    ARMENIAN: "hy",
    BENGALI: "bn",
    GURMUKHI: "pa",
    GUJARATI: "gu",
    ORIYA: "or",
    TAMIL: "ta",
    TELUGU: "te",
    KANNADA: "kn",
    MALAYALAM: "ml",
    SINHALA: "si",
    THAI: "th",
    LAO: "lo",
    TIBETAN: "bo",
    BURMESE: "my",
    GEORGIAN: "ka",
    ETHIOPIC: "am",
    KHMER: "km",
}
"""Scripts that one language uses, or hardly any other one."""

# About how much of a word a letter is: a Han character says as much as three Latin letters.
LETTER_WEIGHTS = np.full(SCRIPTS, 0.3)
LETTER_WEIGHTS[[HAN, HAN_SIMPLIFIED, HAN_TRADITIONAL, HAN_JAPANESE]] = 1.0
LETTER_WEIGHTS[[KANA, HANGUL]] = 0.6
LETTER_WEIGHTS[OTHER] = 0.0

SIMPLIFIED = (
    "为国时会个区发学这与开该动亚马来电对内产车员将军过罗组进场战风东队戏间现达当选赛长联号经数"
    "镇体义称维们业设语剧举参种还计运两统约导获诺气乐从务带关县总级兰节线议书变实奥奖纳视没岛强"
    "铁万华历际结舰单说击图圣应广认点传无观类专转师处则标伦莱记评决热团编门头领创张别属苏报杰构"
    "随萨纪环职网续织复装给题贝争条红艺画录鲁终离调桥麦届样欧众问陆爱卫响项飓兴顿许办资积划连岩"
    "园库权规声论价备词龙亲黄担习弹杀压营济证质试独儿协围宝测药费仅汉乌厂较纽见预双馆医态乔层边"
    "严话轮销写温韩凯岁细阳断继让伤极肿护辑摄显译异侬载况阵满状财执鱼兹难访泽赞损储换玛壮签虽补"
    "镜验请梦毕飞络负侧农远丽冲刘剂户枪楼胜读韦饰敌湾责讲尽荣轻庆"
)
TRADITIONAL = (
    "為國會時與後爾發學個並動電區對開來長賽車機員該過這亞東體蘭當經進現軍羅內間將選戰場隊馬業級"
    "鎮華達設關聯兩灣計參劇種議遊烏統約風積處組視維數總戲們則製帶稱節樂獲號魚線無團單從類門務舉"
    "島臺運萬費屬獎點納實結資義縣傳別創導應護產說職諾氣負師裝離決變畫轉際報張責廣認語頓續擊專評"
    "醫觀衛領沒強歷愛網調熱許辦標連奧輪黨圖終紀書項權協據給術轄藝聖歐錄紅屆鐵還爭題蘇庫眾麗龍劃"
    "層記證魯編頭試隨論擔規聲親園條見彈構響係薩習陸環較館備綱兒問鮭圍邊質樣價療讓險雲營採準簽黃"
    "樓陳寶萊鯰傷濟預夢凱獨繼雙裡歲測請韋顯飾槍話載艦極貝織藥確陽寫盧飛齊換鰭溫復狀簡興額遺棲殺"
    "側態壓鄉茲輯須慶執雖難橋況蓋輻驗優卻幾謝遠倫詩韓舊敗漢競課勝"
)
JAPANESE = (
    "歳沢寛浜県歴経円勲恵悪斎検楽様毎気焼荘蔵覇辺鋳亜伝団圏広拝揺晩暁暦曽歩総豊転郷闘陥雑齢両乗"
    "亀仏仮価倹児処剣剤剰労勧単厳収唖営噛囲図圧塁塩増壊壌壱売変奨嬢実対専尭巌巣巻帯帰庁廃弐弾従"
    "徳応悩懐戦戻払抜択拠拡挙挿捜掲掻摂撹斉栄桜桝桟槙権歓歯浄涙渇込畑峠辻枠栃匂凪笹"
)


def count_scripts(texts: Sequence[str]) -> np.ndarray:
    """Letters of each script in each text: int64 [texts, SCRIPTS]; OTHER is what is no letter."""
    joined = "".join(texts)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    owners = np.repeat(np.arange(len(texts)) * SCRIPTS, [len(text) for text in texts])
    counts = np.bincount(owners + _table()[codes], minlength=len(texts) * SCRIPTS)
    return counts.reshape(len(texts), SCRIPTS)


@cache
def _table() -> np.ndarray:
    """The script of each code point."""
    table = np.zeros(0x110000, np.uint8)
    for script, bounds in _RANGES.items():
        for first, last in zip(bounds[::2], bounds[1::2], strict=True):
            table[ord(first) : ord(last) + 1] = script
    for script, characters in (
        (HAN_SIMPLIFIED, SIMPLIFIED),
        (HAN_TRADITIONAL, TRADITIONAL),
        (HAN_JAPANESE, JAPANESE),
    ):
        table[[ord(character) for character in characters]] = script
    return table
